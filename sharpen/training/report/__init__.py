"""The page of a training."""

from sharpen.training.report.page import render_page

__all__ = ["render_page"]
