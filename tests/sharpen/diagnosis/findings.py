"""Findings of every kind, with texts of a stranger."""

from __future__ import annotations

from sharpen.diagnosis.explain import Explanation
from sharpen.diagnosis.finding import Change, Finding
from tests.sharpen.reports.html_pages import HOSTILE


def every_kind_of_finding() -> Explanation:
    """A finding of each kind: with two changes, with advice alone, with a value that a shell must not read."""
    changes = (
        Change("mining.relative_margin", "0.05", "fewer of them"),
        Change("training.false_negative_margin", "0.1"),
    )
    found = [
        Finding("false negatives", "mining picks 46 % of the hidden positives", "likely", 0.8, "harm", changes),
        Finding(
            "too few test queries", f"30 queries of {HOSTILE}", "certain", 0.5, "doubt", advice="label more queries"
        ),
        Finding(
            "a prompt", "it is missing", "possible", 0.4, "limit", (Change("encoder.prompt", f"query: {HOSTILE}"),)
        ),
    ]
    return Explanation("no different", found, [f"the prepared data: s3://bucket/{'long/' * 30}{HOSTILE}"])
