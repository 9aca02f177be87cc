"""Figures and notes of the scores, and the page that shows them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sharpen.teachers.combine import Scored
from sharpen.teachers.pairs import TeacherPairs
from sharpen.teachers.report.page import render_page
from sharpen.teachers.report.statistics import examples, notes, statistics, summary


def _scored(margin: float | None, *, last: float = 1.0) -> Scored:
    """Two queries of a positive and two negatives; one negative of the first scores above its positive."""
    pairs = TeacherPairs(
        query_ids=["q0", "q1"],
        queries=["first <b>", "second"],
        passage_ids=["p0", "p1", "p2"],
        passages=["good", "other", "x" * 900],
        query=np.array([0, 0, 0, 1, 1, 1]),
        passage=np.array([0, 1, 2, 0, 1, 2]),
        role=np.array(["positive", "negative", "negative"] * 2),
    )
    scores = np.array([2.0, 3.0, -1.0, 4.0, 3.5, last])
    return Scored.of(pairs, {"cross_encoder": scores}, margin)


def _found(scored: Scored, **judge: Any) -> dict[str, Any]:
    teachers: dict[str, Any] = {
        "cross_encoder": {"model": "ce"},
        **({"judge": {"model": "j", **judge}} if judge else {}),
    }
    margin = 1.0 if scored.dropped.any() else None
    return {
        **statistics(scored),
        "examples": examples(scored, 1),
        "teachers": teachers,
        "settings": {"margin": margin},
        "provenance": {"data": "d"},
        "seconds": 1.0,
    }


def test_counts_shares_and_examples() -> None:
    found = statistics(_scored(None))
    assert found["pairs"]["dropped"] == 0 and found["pairs"]["not_scored"] == 0
    assert found["above_positive"]["all"] == {"negatives": 4, "above": 1, "share": 0.25}
    assert sum(found["positive_scores"]["counts"]) == 2 and sum(found["negative_scores"]["counts"]) == 4
    shown = examples(_scored(None), 1)
    # highest above their positive first, one a query
    assert [one["negative_score"] - one["positive_score"] for one in shown] == [1.0, -0.5]
    assert len(examples(_scored(None, last=5.0), 1)[0]["negative"]) < 450
    with_margin = statistics(_scored(1.0))["pairs"]
    assert (with_margin["dropped"], with_margin["queries_with_dropped"]) == (2, 2)
    assert {one["negative"] for one in examples(_scored(1.0), 1)} == {"other"}


def test_notes_say_what_is_missing_and_what_to_set() -> None:
    (line,) = notes(_found(_scored(None)))
    assert "25.0 %" in line and "set margin" in line
    assert notes(_found(_scored(1.0))) == []
    # half of the negatives above a positive: no margin mends that
    for margin in (None, 1.0):
        (line,) = notes(_found(_scored(margin, last=5.0)))
        assert line.startswith("50.0 % of the negatives") and "measure the teacher before training" in line
    found = _found(_scored(1.0, last=float("nan")), not_reached=7, refused=2, first_refusals=["400 too long"])
    text = "\n".join(notes(found))
    assert "1 pairs have no score" in text and "7 pairs" in text and "400 too long" in text
    assert any("2 negatives of 2 queries are left out" in line for line in summary(found))


@pytest.mark.parametrize("margin", [None, 1.0])
def test_page_escapes_and_names_the_teacher(margin: float | None) -> None:
    page = render_page(_found(_scored(margin)))
    assert "first &lt;b&gt;" in page and "<script" not in page and "ce scored the positives" in page
    assert ("left out" in page.split("<section>")[0]) and ("set a smaller margin" in page) == (margin is not None)
