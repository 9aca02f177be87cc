"""The map and the score separation: against scikit-learn, and by what they must hold for any data."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from sharpen.evaluation.retrieval import Embedded
from sharpen.evaluation.split import EvaluationSplit
from sharpen.evaluation.vector_summary import (
    MAP_PASSAGES,
    MAP_QUERIES,
    area_under_curve,
    embedding_map,
    principal_plane,
    separation,
)
from sharpen.index.exact import top_k


def split_of(queries: int, passages: int, *, sources: int = 1, groups: int = 0) -> EvaluationSplit:
    query_ids = [f"q{i:05}" for i in range(queries)]
    passage_ids = sorted((f"p{i:05}" for i in range(passages)), reverse=True)
    return EvaluationSplit(
        query_ids=query_ids,
        query_texts=query_ids,
        query_keys=[],
        instructions=[""] * queries,
        groups=[f"g{i % groups}" if groups else q for i, q in enumerate(query_ids)],
        sources=[f"s{i % sources}" for i in range(queries)],
        passage_ids=passage_ids,
        passage_texts=passage_ids,
        qrels={q: {f"p{i % passages:05}": 1, f"p{(i + 1) % passages:05}": 0} for i, q in enumerate(query_ids)},
        facts={},
    )


def unit(rows: int, dimension: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(("rows", "dimension"), [(200, 16), (50, 384)])
def test_the_plane_is_that_of_principal_components(rows: int, dimension: int) -> None:
    vectors = unit(rows, dimension, 1) * np.linspace(3, 1, dimension)
    plane, explained = principal_plane(vectors.astype(np.float64))
    reference = PCA(2, svd_solver="full").fit(vectors)
    expected = reference.transform(vectors)
    np.testing.assert_allclose(np.abs(plane), np.abs(expected), atol=1e-4)
    np.testing.assert_allclose(explained, reference.explained_variance_ratio_, atol=1e-4)
    assert (plane[np.abs(plane).argmax(axis=0), [0, 1]] > 0).all()


def test_points_that_are_all_the_same_have_a_map() -> None:
    plane, explained = principal_plane(np.ones((3, 4)))
    assert plane.shape == (3, 2) and np.allclose(plane, 0) and explained == [0.0, 0.0]
    assert principal_plane(np.ones((1, 4)))[0].shape == (1, 2)


def test_maps_of_two_models_hold_the_same_points_and_are_bounded() -> None:
    judged = split_of(2000, 5000, sources=3)
    one = embedding_map(Embedded(unit(2000, 8, 1), unit(5000, 8, 2)), judged)
    other = embedding_map(Embedded(unit(2000, 12, 3), unit(5000, 12, 4)), judged)
    assert one["points"]["id"] == other["points"]["id"]
    kinds = one["points"]["kind"]
    assert kinds.count("query") == kinds.count("passage") == MAP_QUERIES
    assert MAP_PASSAGES - 60 < kinds.count("rest") <= MAP_PASSAGES
    assert len(json.dumps(one)) < 100_000
    assert one["labels"] == "source" and set(one["points"]["label"]) == {"s0", "s1", "s2", ""}
    for row, pair in enumerate(one["points"]["pair"]):
        assert (pair >= 0) == (kinds[row] == "query")
        if pair >= 0:
            assert judged.qrels[one["points"]["id"][row]][one["points"]["id"][pair]] == 1


def test_colours_are_sources_else_few_groups_else_none() -> None:
    queries, passages = unit(40, 4, 1), unit(60, 4, 2)
    grouped = embedding_map(Embedded(queries, passages), split_of(40, 60, groups=10))
    assert grouped["labels"] == "group" and len({*grouped["points"]["label"]} - {""}) == 7
    for many in (split_of(40, 60, groups=20), split_of(40, 60)):
        found = embedding_map(Embedded(queries, passages), many)
        assert found["labels"] == "" and {*found["points"]["label"]} == {""}


def test_separation_is_that_of_all_scores() -> None:
    judged = split_of(300, 400)
    queries, passages = unit(300, 6, 1), unit(400, 6, 2)
    passages[[judged.passage_ids.index(f"p{i:05}") for i in range(300)]] += 0.7 * queries
    scores, rows = top_k(queries, passages, 5)
    rankings = {
        q: [(judged.passage_ids[row], float(score)) for row, score in zip(found, values, strict=True)]
        for q, found, values in zip(judged.query_ids, rows, scores, strict=True)
    }
    found = separation(Embedded(queries, passages), judged, rankings, 1)
    every = queries @ passages.T
    at = np.array([judged.passage_ids.index(f"p{i:05}") for i in range(300)])
    positive = every[np.arange(300), at]
    every[np.arange(300), at] = -np.inf
    negative = every.max(axis=1)
    assert found["queries"] == 300
    assert found["above"] == pytest.approx((positive > negative).mean(), abs=1e-5)
    truth = np.r_[np.ones(300), np.zeros(300)]
    assert found["auc"] == pytest.approx(roc_auc_score(truth, np.r_[positive, negative]), abs=1e-4)
    edges = np.array(found["positive"]["edges"])
    assert found["positive"]["edges"] == found["negative"]["edges"] and (np.diff(edges) > 0).all()
    assert sum(found["positive"]["counts"]) == sum(found["negative"]["counts"]) == 300
    shared = np.minimum(found["positive"]["counts"], found["negative"]["counts"]).sum() / 300
    assert found["overlap"] == pytest.approx(shared, abs=1e-4)


def test_a_query_without_relevant_passage_or_hit_is_left_out() -> None:
    judged = split_of(3, 4)
    vectors = unit(4, 4, 1)
    assert separation(Embedded(vectors[:3], vectors), judged, {}, 1) == {}
    assert separation(Embedded(vectors[:3], vectors), judged, {q: [("p00003", 0.1)] for q in judged.query_ids}, 2) == {}


def test_ties_count_half() -> None:
    assert area_under_curve(np.array([1.0, 1.0]), np.array([1.0])) == 0.5
    assert area_under_curve(np.array([2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(1.5 / 3)
