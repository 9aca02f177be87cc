"""The best passages by their best vectors, against every vector looked at."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from sharpen.embeddings import PassageRows
from sharpen.index import ann, distinct
from sharpen.index.distinct import best_vectors, passage_blocks, top_passages
from sharpen.index.exact import pair_scores, top_k

# most passages have one vector, one has sixty
COUNTS = np.array([1, 1, 3, 1, 60, *[1] * 40, 2, 5, 1, 1])
ROWS = PassageRows(np.repeat(np.arange(len(COUNTS)), COUNTS))


def unit(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def tied(seed: int) -> np.ndarray:
    """Vectors of which many are equal, within a passage and between passages."""
    few = unit(12, seed)
    return few[np.random.default_rng(seed).integers(12, size=len(ROWS.passages))]


def crowded(seed: int) -> np.ndarray:
    """Vectors of which the sixty of one passage are nearly alike: they are before all others for some queries."""
    vectors = unit(len(ROWS.passages), seed)
    vectors[ROWS.passages == 4] = unit(1, seed + 1) + 0.001 * vectors[ROWS.passages == 4]
    return vectors


def brute(queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and passages (n, k) from the scores of all pairs, ties by passage."""
    pairs = np.indices((len(queries), len(vectors))).reshape(2, -1)
    scores = pair_scores(queries, vectors, *pairs).reshape(len(queries), -1)
    best = np.maximum.reduceat(scores, ROWS.first, axis=1)
    order = np.lexsort((np.broadcast_to(np.arange(len(COUNTS)), best.shape), -best), axis=1)[:, :k]
    found = np.take_along_axis(best, order, axis=1)
    more = ((0, 0), (0, k - order.shape[1]))
    return np.pad(found, more, constant_values=-np.inf), np.pad(order, more, constant_values=-1)


@pytest.mark.parametrize("k", [1, 3, 10, len(COUNTS), len(COUNTS) + 5])
@pytest.mark.parametrize("make", [unit, tied, crowded])
def test_the_best_passages_are_those_of_brute_force(make: object, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinct, "QUERY_BLOCK", 7)
    vectors = unit(len(ROWS.passages), 1) if make is unit else make(1)  # type: ignore[operator]
    queries = np.concatenate([unit(20, 9), vectors[ROWS.passages == 4][:3]])
    scores, passages = top_passages(queries, vectors, ROWS, k)
    expected_scores, expected = brute(queries, vectors, k)
    np.testing.assert_array_equal(passages, expected)
    np.testing.assert_array_equal(scores, expected_scores)
    blocks = list(passage_blocks(lambda some, depth: top_k(some, vectors, depth), queries, ROWS, k))
    assert [block.start for block in blocks] == [0, 7, 14, 21]
    np.testing.assert_array_equal(np.concatenate([block.indices for block in blocks]), expected)


def test_more_vectors_are_searched_only_where_one_passage_crowds_out_the_others() -> None:
    vectors, depths = crowded(1), []

    def find(queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        depths.append((len(queries), depth))
        return top_k(queries, vectors, depth)

    queries = np.concatenate([-vectors[ROWS.passages == 4][:9], vectors[ROWS.passages == 4][:2]])
    scores, found = best_vectors(find, queries, ROWS, 10)
    np.testing.assert_array_equal(ROWS.passages_of(found), brute(queries, vectors, 10)[1])
    np.testing.assert_array_equal(
        scores, pair_scores(queries, vectors, np.repeat(np.arange(11), 10), found.ravel()).reshape(11, 10)
    )
    assert depths[0][0] == 11 and [count for count, _ in depths[1:]] == [2] * (len(depths) - 1) and len(depths) > 1
    assert max(depth for _, depth in depths) <= ROWS.sufficient(10) == 60 + 5 + 3 + 2 + 5 + 1


def test_an_approximate_index_gives_as_many_passages_as_it_can_find() -> None:
    vectors, queries = crowded(1), unit(20, 9)
    index = ann.build_index(vectors, "IVF4,Flat", seed=1)
    all_lists = partial(ann.approximate_blocks, factory="IVF4,Flat", effort=ann.Effort(4, 1.5, 1.0, 10, 1))

    def find(some: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        (block,) = all_lists(index, some, vectors, depth)
        return block.scores, block.indices

    np.testing.assert_array_equal(
        ROWS.passages_of(best_vectors(find, queries, ROWS, 10)[1]), brute(queries, vectors, 10)[1]
    )


def test_rows_of_passages_and_of_their_vectors() -> None:
    rows = PassageRows(np.array([0, 1, 1, 1, 2]))
    assert (len(rows), rows.first.tolist(), rows.counts.tolist()) == (3, [0, 1, 4], [1, 3, 1])
    assert rows.vectors_of(np.array([2, 1, 1])).tolist() == [4, 1, 2, 3, 1, 2, 3]
    assert rows.passages_of(np.array([[4, -1], [2, 0]])).tolist() == [[2, -1], [1, 0]]
    assert [rows.sufficient(k) for k in (1, 2, 3, 9)] == [1, 4, 5, 5]
    assert rows.named(["a", "b", "c"]) == ["a", "b", "b", "b", "c"]
