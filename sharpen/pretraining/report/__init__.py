"""The page of a pre-training."""

from sharpen.pretraining.report.page import render_page

__all__ = ["render_page"]
