"""The pages of a run's end: what the promotion step shows, and the summary at the root of the graph."""

from sharpen.registry.report.page import (
    CANCELLED,
    FAILED,
    SUCCEEDED,
    RunEnd,
    headline_metrics,
    promotion_page,
    run_page,
)

__all__ = ["CANCELLED", "FAILED", "SUCCEEDED", "RunEnd", "headline_metrics", "promotion_page", "run_page"]
