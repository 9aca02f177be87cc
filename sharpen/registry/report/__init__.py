"""A run's end: the page of the promotion step, the summary at the root of the graph, what a webhook is told."""

from sharpen.registry.report.event import approval_event, run_event
from sharpen.registry.report.page import (
    CANCELLED,
    FAILED,
    SUCCEEDED,
    RunEnd,
    headline_metrics,
    promotion_page,
    run_page,
)

__all__ = [
    "CANCELLED",
    "FAILED",
    "SUCCEEDED",
    "RunEnd",
    "approval_event",
    "headline_metrics",
    "promotion_page",
    "run_event",
    "run_page",
]
