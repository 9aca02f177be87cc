"""Search against brute force from the definition; ties, block sizes, bad vectors."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpen.errors import InputError
from sharpen.index import exact as search
from sharpen.index.exact import NO_PASSAGE, pair_scores, top_k, top_k_blocks

BLOCKS = [(1, 1), (2, 3), (3, 7), (5, 64), (64, 5), (1000, 1000)]


def vectors(rows: int, dimension: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def brute_force(queries: np.ndarray, passages: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """By definition, with whole numbers as inputs so that every sum is exact in any order."""
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    indices = np.full((len(queries), k), NO_PASSAGE, dtype=np.int64)
    for row, query in enumerate(queries.astype(np.float64)):
        hits = sorted((-float(query @ passage), index) for index, passage in enumerate(passages.astype(np.float64)))
        for rank, (negated, index) in enumerate(hits[:k]):
            scores[row, rank], indices[row, rank] = -negated, index
    return scores, indices


@pytest.mark.parametrize(("query_block", "passage_block"), BLOCKS)
@pytest.mark.parametrize("k", [1, 4, 17, 60])
def test_many_exact_ties_are_broken_by_index_at_the_last_rank_too(k: int, query_block: int, passage_block: int) -> None:
    generator = np.random.default_rng(k)
    queries = generator.integers(-2, 3, (9, 3)).astype(np.float32)
    passages = generator.integers(-2, 3, (50, 3)).astype(np.float32)
    scores, indices = top_k(queries, passages, k, query_block=query_block, passage_block=passage_block)
    expected_scores, expected_indices = brute_force(queries, passages, k)
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("place", [0, 700, 1599])
def test_one_passage_that_is_much_longer_slows_its_own_block_only(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[int] = []
    exact = search._pairwise
    monkeypatch.setattr(
        search, "_pairwise", lambda q, p, rows, columns: (scored.append(len(rows)), exact(q, p, rows, columns))[1]
    )
    queries, passages = vectors(20, 384, 1), vectors(1600, 384, 2)
    top_k(queries, passages, 10, passage_block=100)
    usual = sum(scored)
    scored.clear()
    passages[place] *= 1e4
    scores, indices = top_k(queries, passages, 10, passage_block=100)
    # at most all pairs of the one block more
    assert sum(scored) <= usual + 20 * 100
    expected = pair_scores(queries, passages, np.repeat(np.arange(20), 1600), np.tile(np.arange(1600), 20))
    order = np.lexsort((np.tile(np.arange(1600), (20, 1)), -expected.reshape(20, 1600)), axis=1)[:, :10]
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_array_equal(scores, np.take_along_axis(expected.reshape(20, 1600), order, axis=1))


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 40), st.integers(1, 45), st.integers(1, 50))
def test_any_small_case_equals_brute_force(seed: int, n: int, m: int, k: int, block: int) -> None:
    generator = np.random.default_rng(seed)
    queries = generator.integers(-3, 4, (n, 2)).astype(np.float32)
    passages = generator.integers(-3, 4, (m, 2)).astype(np.float32)
    found = top_k(queries, passages, k, query_block=max(1, block // 3), passage_block=block)
    for ours, theirs in zip(found, brute_force(queries, passages, k), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_same_passage_in_many_places_ties_exactly_for_every_block_size() -> None:
    """Real-valued copies: a matrix product may give them different last bits, the search must not."""
    queries, distinct = vectors(33, 384, 0), vectors(40, 384, 1)
    passages = np.tile(distinct, (25, 1))
    results = [top_k(queries, passages, 60, query_block=q, passage_block=p) for q, p in [(1, 1000), (7, 13), (33, 97)]]
    for scores, indices in results:
        np.testing.assert_array_equal(indices, results[0][1])
        np.testing.assert_array_equal(scores, results[0][0])
        for row in range(len(queries)):
            same = indices[row, :25] % 40
            assert len(set(same)) == 1 and list(indices[row, :25]) == sorted(indices[row, :25])
            assert len(set(scores[row, :25])) == 1


def test_equals_faiss_and_float64_on_real_valued_vectors() -> None:
    queries, passages = vectors(200, 64, 2), vectors(3000, 64, 3)
    scores, indices = top_k(queries, passages, 50, query_block=77, passage_block=501)
    theirs, _ = faiss.knn(queries, passages, 50, metric=faiss.METRIC_INNER_PRODUCT)
    np.testing.assert_allclose(scores, theirs, atol=1e-6)
    exact = queries.astype(np.float64) @ passages.astype(np.float64).T
    np.testing.assert_allclose(scores, np.take_along_axis(exact, indices, axis=1), atol=1e-6)
    np.testing.assert_array_equal(np.sort(indices), np.sort(np.argsort(-exact, axis=1, kind="stable")[:, :50]))


def test_rising_scores_are_the_worst_order_and_still_right() -> None:
    queries = np.ones((3, 1), dtype=np.float32)
    passages = np.arange(5000, dtype=np.float32)[:, None]
    scores, indices = top_k(queries, passages, 10, query_block=2, passage_block=100)
    assert indices.tolist() == [list(range(4999, 4989, -1))] * 3
    assert scores[0].tolist() == [float(value) for value in range(4999, 4989, -1)]


def test_minus_zero_and_zero_are_a_tie() -> None:
    scores, indices = top_k(np.array([[1.0]]), np.array([[-0.0], [0.0], [-0.0]]), 3)
    assert indices.tolist() == [[0, 1, 2]]
    assert scores.tolist() == [[0.0, 0.0, 0.0]]


def test_fewer_passages_than_k_are_padded() -> None:
    scores, indices = top_k(vectors(2, 4, 0), vectors(3, 4, 1), 5)
    assert (indices[:, 3:] == NO_PASSAGE).all() and np.isneginf(scores[:, 3:]).all()
    assert (indices[:, :3] >= 0).all() and np.isfinite(scores[:, :3]).all()
    scores, indices = top_k(vectors(2, 4, 0), np.empty((0, 4), dtype=np.float32), 2)
    assert (indices == NO_PASSAGE).all()
    assert top_k(np.empty((0, 4), dtype=np.float32), vectors(3, 4, 1), 2)[0].shape == (0, 2)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_a_memory_mapped_array_of_another_type(tmp_path: Path, kind: type) -> None:
    passages = vectors(300, 16, 5).astype(kind)
    np.save(tmp_path / "passages.npy", passages)
    mapped = np.load(tmp_path / "passages.npy", mmap_mode="r")
    queries = vectors(10, 16, 6)
    for ours, plain in zip(top_k(queries, mapped, 20, passage_block=64), top_k(queries, passages, 20), strict=True):
        np.testing.assert_array_equal(ours, plain)


def test_blocks_follow_each_other_and_cover_all_queries() -> None:
    queries, passages = vectors(25, 8, 0), vectors(90, 8, 1)
    scores, indices = top_k(queries, passages, 7)
    blocks = list(top_k_blocks(queries, passages, 7, query_block=10))
    assert [block.start for block in blocks] == [0, 10, 20]
    np.testing.assert_array_equal(np.concatenate([block.scores for block in blocks]), scores)
    np.testing.assert_array_equal(np.concatenate([block.indices for block in blocks]), indices)


def test_pair_scores_are_bit_for_bit_those_of_the_search() -> None:
    queries, passages = vectors(20, 100, 0), vectors(500, 100, 1)
    scores, indices = top_k(queries, passages, 30, query_block=3, passage_block=41)
    rows = np.repeat(np.arange(20), 30)
    np.testing.assert_array_equal(pair_scores(queries, passages, rows, indices.ravel()), scores.ravel())
    assert pair_scores(queries, passages, rows[:0], rows[:0]).shape == (0,)


def test_pair_scores_need_bounded_memory_and_are_the_same_for_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, passages = vectors(900, 2048, 0), vectors(1000, 2048, 1)
    draw = np.random.default_rng(2)
    rows = (draw.permutation(900), draw.permutation(1000)[:900])
    whole = pair_scores(queries, passages, *rows)
    for size in (1, 7 * 2 * 2048 * 4, 2**20):
        monkeypatch.setattr(search, "_PAIR_BYTES", size)
        tracemalloc.start()
        scores = pair_scores(queries, passages, *rows)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        np.testing.assert_array_equal(scores, whole)
        assert peak < size + 100_000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_bad_vector_is_named_before_any_work(value: float) -> None:
    queries, passages = vectors(4, 8, 0), vectors(30, 8, 1)
    passages[17, 3] = passages[21, 0] = value
    with pytest.raises(InputError, match=r"passages: the vector in row 17 .*\(2 such rows\)"):
        top_k_blocks(queries, passages, 3, passage_block=4)
    queries[2] = value
    with pytest.raises(InputError, match="queries: the vector in row 2 "):
        top_k(queries, vectors(30, 8, 1), 3)


def test_other_bad_input() -> None:
    with pytest.raises(InputError, match="same length"):
        top_k(vectors(2, 8, 0), vectors(2, 9, 0), 1)
    with pytest.raises(InputError, match="overflow"):
        top_k(np.full((1, 2), 1e20), np.full((1, 2), 1e20), 1)
    with pytest.raises(ValueError, match="at least 1"):
        top_k(vectors(2, 8, 0), vectors(2, 8, 0), 0)


@pytest.mark.parametrize(("query_block", "passage_block"), BLOCKS)
def test_the_code_for_a_gpu_gives_the_same_answer(query_block: int, passage_block: int) -> None:
    """On the CPU, where there is no GPU; bit for bit, with ties and with real-valued copies of one passage."""
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    generator = np.random.default_rng(4)
    whole = generator.integers(-2, 3, (9, 3)), generator.integers(-2, 3, (50, 3))
    real = vectors(33, 384, 0), np.tile(vectors(40, 384, 1), (5, 1))
    torch.set_float32_matmul_precision("medium")
    try:
        for queries, passages in (whole, real):
            plain = top_k(queries, passages, 17)
            for device in devices:
                blocks = {"query_block": query_block, "passage_block": passage_block}
                for ours, theirs in zip(top_k(queries, passages, 17, **blocks, device=device), plain, strict=True):
                    np.testing.assert_array_equal(ours, theirs)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
