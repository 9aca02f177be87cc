"""The page of a merging."""

from sharpen.merging.report.page import render_page

__all__ = ["render_page"]
