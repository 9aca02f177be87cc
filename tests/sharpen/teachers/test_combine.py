"""Averages of teachers and the false negatives, against loops over the definition."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from sharpen.errors import StepFailed
from sharpen.teachers.combine import Scored, combined, false_negatives
from sharpen.teachers.pairs import TeacherPairs

ROLES = ("positive", "negative", "irrelevant")


def _pairs(queries: int, seed: int) -> tuple[TeacherPairs, list[np.ndarray]]:
    draw = np.random.default_rng(seed)
    sizes = draw.integers(1, 7, queries)
    query = np.repeat(np.arange(queries), sizes)
    role = np.concatenate([["positive", *draw.choice(ROLES, size - 1)] for size in sizes])
    names = [f"q{number}" for number in range(queries)]
    passages = [f"p{number}" for number in range(7)]
    places = np.concatenate([np.arange(size) for size in sizes])
    pairs = TeacherPairs(names, names, passages, passages, query, places, role)
    scores = [draw.integers(-3, 4, len(query)).astype(float) * scale for scale in (1.0, 0.01, 100.0)]
    for one in scores:
        one[draw.random(len(one)) < 0.15] = np.nan
    return pairs, scores


def test_several_teachers_weigh_the_same_whatever_their_scale() -> None:
    pairs, scores = _pairs(40, 1)
    found = combined(pairs, scores)
    for number in range(len(pairs)):
        standard = []
        for one in scores:
            known = [v for v, q in zip(one, pairs.query, strict=True) if q == pairs.query[number] and not math.isnan(v)]
            if not math.isnan(one[number]):
                deviation = statistics.pstdev(known)
                standard.append((one[number] - statistics.mean(known)) / deviation if deviation > 1e-12 else 0.0)
        expected = statistics.mean(standard) if standard else math.nan
        assert found[number] == pytest.approx(expected, abs=1e-9, nan_ok=True)
    # offsets and scales of a teacher do not matter
    np.testing.assert_allclose(combined(pairs, [scores[0] * 7 + 3, *scores[1:]]), found, atol=1e-9)
    assert combined(pairs, scores[:1]) is scores[0]


@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_false_negatives_are_those_above_the_lowest_positive_less_the_margin(margin: float) -> None:
    pairs, (scores, *_) = _pairs(40, 2)
    dropped = false_negatives(pairs, scores, margin)
    for number in range(len(pairs)):
        rows = [row for row in range(len(pairs)) if pairs.query[row] == pairs.query[number]]
        positives = [scores[row] for row in rows if pairs.role[row] == "positive" and not math.isnan(scores[row])]
        bound = min(positives, default=math.inf) - margin
        assert dropped[number] == (pairs.role[number] == "negative" and scores[number] > bound)
    assert 0 < dropped.sum() < (pairs.role == "negative").sum()
    assert Scored.of(pairs, {"one": scores}, margin).dropped.tolist() == dropped.tolist()


def test_table_holds_what_is_scored_and_nothing_is_written_without_a_positive() -> None:
    pairs, (scores, *_) = _pairs(10, 3)
    scored = Scored.of(pairs, {"one": scores}, None)
    table = scored.table()
    assert table.height == (~np.isnan(scores)).sum() and not table["dropped"].any()
    first = int(np.flatnonzero(~np.isnan(scores))[0])
    expected = (f"q{pairs.query[first]}", f"p{pairs.passage[first]}", pairs.role[first], scores[first], False)
    assert table.row(0) == expected
    scores[pairs.role == "positive"] = np.nan
    with pytest.raises(StepFailed, match="no positive got a score"):
        Scored.of(pairs, {"one": scores}, None)
