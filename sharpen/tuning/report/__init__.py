"""The report of a search."""

from sharpen.tuning.report.page import write_page

__all__ = ["write_page"]
