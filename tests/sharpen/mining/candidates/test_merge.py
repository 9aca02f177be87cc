"""The union of rankings against its definition, passage by passage."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpen.mining.candidates.merge import merge


def one_by_one(rankings: list[list[int]]) -> list[tuple[int, int, int, int]]:
    """(passage, rank, source, sources as bits) of one query, from the definition."""
    found = {}
    for source, passages in enumerate(rankings):
        for rank, passage in enumerate(passages, start=1):
            best, bits = found.get(passage, ((rank, source), 0))
            found[passage] = (min(best, (rank, source)), bits | 1 << source)
    return [(p, *best, bits) for p, (best, bits) in sorted(found.items(), key=lambda item: item[1][0])]


def table(rows: list[list[int]], depth: int) -> np.ndarray:
    filled = np.full((len(rows), depth), -1, dtype=np.int64)
    for row, passages in zip(filled, rows, strict=True):
        row[: len(passages)] = passages[:depth]
    return filled


rankings = st.integers(1, 8).flatmap(
    lambda sources: st.integers(1, 4).flatmap(
        lambda queries: st.lists(
            st.lists(st.lists(st.integers(0, 9), unique=True), min_size=queries, max_size=queries),
            min_size=sources,
            max_size=sources,
        )
    )
)


@settings(max_examples=200)
@given(rankings, st.integers(0, 3))
def test_equals_the_definition(found: list[list[list[int]]], spare: int) -> None:
    depth = 1 + spare + max(len(row) for rows in found for row in rows)
    merged = merge([table(rows, depth) for rows in found])
    for query in range(len(found[0])):
        columns = (merged.passages, merged.ranks, merged.sources, merged.found_by)
        rows = list(zip(*(column[query].tolist() for column in columns), strict=True))
        expected = one_by_one([rows[query] for rows in found])
        assert rows[: len(expected)] == expected
        assert set(rows[len(expected) :]) <= {(-1, 0, -1, 0)}


def test_one_source_keeps_its_ranks() -> None:
    merged = merge([np.array([[5, 3, 9, -1], [7, -1, -1, -1]])])
    assert merged.passages.tolist() == [[5, 3, 9, -1], [7, -1, -1, -1]]
    assert merged.ranks.tolist() == [[1, 2, 3, 0], [1, 0, 0, 0]]
    assert merged.sources.tolist() == [[0, 0, 0, -1], [0, -1, -1, -1]]
