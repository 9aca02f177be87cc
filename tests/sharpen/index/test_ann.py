"""Approximate search against the exact one: true scores, measured recall, the same answer for the same seed."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from sharpen.errors import InputError
from sharpen.index.ann import Effort, approximate_blocks, build_index, check_factory, measured_recall, suggested_factory
from sharpen.index.exact import best_of, top_k

FACTORIES = ["IVF32,Flat", "IVF32,SQ8", "IVF32,PQ16x4fs", "HNSW16", "SQ8"]


def clustered(rows: int, seed: int, dimension: int = 32) -> np.ndarray:
    """Vectors of length 1 around 40 centres: random ones without neighbours would be no task for an index."""
    centres = np.random.default_rng(0).standard_normal((40, dimension))
    draw = np.random.default_rng(seed)
    found = centres[draw.integers(0, 40, rows)] + 0.5 * draw.standard_normal((rows, dimension))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


PASSAGES, QUERIES = clustered(4000, 1), clustered(300, 2)


@pytest.fixture(scope="module", params=FACTORIES)
def built(request: pytest.FixtureRequest) -> tuple[str, faiss.Index]:
    return request.param, build_index(PASSAGES, request.param, seed=3)


def searched(factory: str, index: faiss.Index, effort: Effort, k: int) -> tuple[np.ndarray, np.ndarray]:
    blocks = list(approximate_blocks(index, QUERIES, PASSAGES, k, factory=factory, effort=effort))
    assert [block.start for block in blocks] == list(np.cumsum([0] + [len(block.scores) for block in blocks[:-1]]))
    return np.concatenate([block.scores for block in blocks]), np.concatenate([block.indices for block in blocks])


def test_what_is_found_has_the_exact_scores_and_order(built: tuple[str, faiss.Index]) -> None:
    factory, index = built
    effort = measured_recall(index, QUERIES, PASSAGES, 20, factory=factory, seed=0)
    scores, indices = searched(factory, index, effort, 20)
    true = QUERIES.astype(np.float64) @ PASSAGES.astype(np.float64).T
    np.testing.assert_allclose(scores, np.take_along_axis(true, indices, axis=1), atol=1e-6)
    everything = np.tile(np.arange(len(PASSAGES)), (len(QUERIES), 1))
    all_scores, all_indices = best_of(QUERIES, PASSAGES, everything, len(PASSAGES))
    for row in range(len(QUERIES)):
        kept = np.isin(all_indices[row], indices[row])
        np.testing.assert_array_equal(all_indices[row][kept], indices[row])
        np.testing.assert_array_equal(all_scores[row][kept], scores[row])


def test_the_measured_recall_is_that_of_the_search(built: tuple[str, faiss.Index]) -> None:
    factory, index = built
    effort = measured_recall(index, QUERIES, PASSAGES, 20, factory=factory, seed=0, sample=len(QUERIES))
    _, indices = searched(factory, index, effort, 20)
    _, exact = top_k(QUERIES, PASSAGES, 20)
    found = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(indices, exact, strict=True)])
    assert effort.recall == pytest.approx(found, abs=1e-12)
    assert effort.recall >= 0.95
    assert (effort.k, effort.queries) == (20, 300)


def test_more_is_looked_at_when_more_recall_is_wanted() -> None:
    passages, queries = (np.random.default_rng(seed).standard_normal((rows, 16)) for seed, rows in ((0, 3000), (1, 50)))
    index = build_index(passages, "IVF64,Flat", seed=0)
    little, much = (
        measured_recall(index, queries, passages, 50, factory="IVF64,Flat", seed=0, wanted=wanted)
        for wanted in (0.5, 1.0)
    )
    assert little.looked_at < much.looked_at <= 64
    assert little.recall < much.recall == 1.0


def test_what_cannot_be_reached_is_told_as_it_is() -> None:
    index = build_index(PASSAGES, "PQ2x4", seed=0)
    effort = measured_recall(index, QUERIES, PASSAGES, 5, factory="PQ2x4", seed=0, wanted=1.0)
    assert 0 < effort.recall < 1


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_same_seed_gives_the_same_index_with_any_number_of_threads(factory: str) -> None:
    made = []
    for threads in (1, 2):
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(threads)
        try:
            made.append(faiss.serialize_index(build_index(PASSAGES, factory, seed=5)).tobytes())
            assert faiss.omp_get_max_threads() == threads
        finally:
            faiss.omp_set_num_threads(before)
    assert made[0] == made[1]


def test_another_seed_gives_another_index() -> None:
    one, other = (faiss.serialize_index(build_index(PASSAGES, "IVF32,Flat", seed=s)).tobytes() for s in (1, 2))
    assert one != other


def test_vectors_may_be_memory_mapped_and_of_another_type(tmp_path: Path) -> None:
    np.save(tmp_path / "passages.npy", PASSAGES.astype(np.float16))
    mapped = np.load(tmp_path / "passages.npy", mmap_mode="r")
    index = build_index(mapped, "IVF16,SQ8", seed=0)
    effort = measured_recall(index, QUERIES, mapped, 10, factory="IVF16,SQ8", seed=0)
    (found, *_) = approximate_blocks(index, QUERIES[:100], mapped, 10, factory="IVF16,SQ8", effort=effort)
    true = QUERIES[:100].astype(np.float64) @ np.asarray(mapped, dtype=np.float64).T
    np.testing.assert_allclose(found.scores, np.take_along_axis(true, found.indices, axis=1), atol=1e-6)


def test_more_hits_than_passages_are_padded() -> None:
    few = PASSAGES[:40]
    index = build_index(few, "IVF4,Flat", seed=0)
    effort = measured_recall(index, QUERIES, few, 100, factory="IVF4,Flat", seed=0, wanted=1.0)
    (found, *_) = approximate_blocks(index, QUERIES[:3], few, 100, factory="IVF4,Flat", effort=effort)
    assert found.indices.shape == (3, 100)
    assert (found.indices[:, 40:] == -1).all() and np.isneginf(found.scores[:, 40:]).all()
    np.testing.assert_array_equal(found.indices[:, :40], top_k(QUERIES[:3], few, 40)[1])


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        ("nonsense", "could not parse index string"),
        ("IVF", "could not parse index string"),
        ("IVF16,PQ7", "should be a multiple"),
        ("IVF5000,Flat", "5,000 lists for 4,000 passages"),
        ("IVF0,Flat", "0 lists"),
        ("LSH", "cannot make this"),
        ("NSG32", "vectors are added in blocks"),
        ("IVF16,PQ16,RFlat", "refinement"),
    ],
)
def test_an_index_that_cannot_be_made_is_one_line(factory: str, told: str) -> None:
    for attempt in (lambda: check_factory(factory, 32, 4000), lambda: build_index(PASSAGES, factory, seed=0)):
        with pytest.raises(InputError) as caught:
            attempt()
        assert told in str(caught.value) and repr(factory) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_bad_vectors_are_told_before_any_work() -> None:
    spoiled = PASSAGES.copy()
    spoiled[7, 3] = np.nan
    with pytest.raises(InputError, match="row 7"):
        build_index(spoiled, "HNSW8", seed=0)
    index = build_index(PASSAGES[:100], "HNSW8", seed=0)
    effort = Effort(8, 2, 1.0, 5, 0)
    with pytest.raises(InputError, match="vectors of length 32"):
        approximate_blocks(index, QUERIES[:, :16], PASSAGES[:100], 5, factory="HNSW8", effort=effort)
    with pytest.raises(InputError, match="queries: the vector in row 0"):
        approximate_blocks(index, np.full((1, 32), np.inf), PASSAGES[:100], 5, factory="HNSW8", effort=effort)


@pytest.mark.parametrize(
    ("passages", "dimension", "factory"),
    [
        (2_000_000, 384, "IVF4096,SQ8"),
        (10_000_000, 1024, "IVF16384,PQ512x4fs"),
        (100_000_000, 384, "IVF16384,PQ192x4fs"),
    ],
)
def test_suggested_factories_can_be_made(passages: int, dimension: int, factory: str) -> None:
    assert suggested_factory(passages, dimension) == factory
    check_factory(factory, dimension, passages)
    check_factory(suggested_factory(1, dimension), dimension, passages)
