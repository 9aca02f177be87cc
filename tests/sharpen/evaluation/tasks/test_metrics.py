"""Figures of tasks against scikit-learn and scipy, and the bootstrap by simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, v_measure_score

from sharpen.data.task_type import TaskType
from sharpen.evaluation.tasks.bootstrap import Figures, paired_bootstrap
from sharpen.evaluation.tasks.metrics import task_metrics
from sharpen.evaluation.tasks.protocols import Outputs


@pytest.fixture(params=[None, 40])
def rows(request: pytest.FixtureRequest) -> np.ndarray | None:
    """All items, or a resample with repeats."""
    return None if request.param is None else np.random.default_rng(3).integers(0, 60, request.param)


def test_correlations_are_scipys(rows: np.ndarray | None) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 60).astype(float)
    cosines = labels / 6 + rng.normal(size=60)
    found = task_metrics(TaskType.STS, Outputs(labels, cosines[:, None]), rows)
    a, b = (cosines, labels) if rows is None else (cosines[rows], labels[rows])
    assert found == pytest.approx([stats.spearmanr(a, b).statistic, stats.pearsonr(a, b).statistic], abs=1e-12)
    assert task_metrics(TaskType.STS, Outputs(np.ones(3), np.arange(3.0)[:, None])).tolist() == [0, 0]


def test_accuracy_and_f1_are_scikit_learns(rows: np.ndarray | None) -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 5, 60).astype(float)
    # label 4 is never predicted, and 6 never right
    predicted = np.where(rng.random((60, 6)) < 0.6, truth[:, None] % 4, rng.integers(5, 7, (60, 6)))
    found = task_metrics(TaskType.CLASSIFICATION, Outputs(truth, predicted.astype(float)), rows)
    if rows is not None:
        truth, predicted = truth[rows], predicted[rows]
    expected = []
    for half in (predicted[:, :3].T, predicted[:, 3:].T):
        expected.append(np.mean([accuracy_score(truth, one) for one in half]))
        expected.append(np.mean([f1_score(truth, one, average="macro", zero_division=0) for one in half]))
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_v_measure_is_scikit_learns(rows: np.ndarray | None) -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 4, 60).astype(float)
    clusters = np.where(rng.random((60, 3)) < 0.5, truth[:, None], rng.integers(0, 5, (60, 3))).astype(float)
    found = task_metrics(TaskType.CLUSTERING, Outputs(truth, clusters), rows)
    if rows is not None:
        truth, clusters = truth[rows], clusters[rows]
    assert found == pytest.approx([np.mean([v_measure_score(truth, one) for one in clusters.T])], abs=1e-12)
    for first, second in ((np.zeros(4), np.arange(4.0)), (np.zeros(4), np.zeros(4)), (np.arange(4.0), np.zeros(4))):
        found = task_metrics(TaskType.CLUSTERING, Outputs(first, second[:, None]))
        assert found == pytest.approx([v_measure_score(first, second)], abs=1e-12)


def test_the_interval_holds_its_level_with_groups_and_p_is_even_where_nothing_differs() -> None:
    rng = np.random.default_rng(4)
    covered = rejected = 0

    def figures(labels: np.ndarray, cosines: np.ndarray) -> Figures:
        return lambda rows: np.corrcoef(labels[rows], cosines[rows])[:1, 1]

    for _ in range(200):
        # texts of a group succeed and fail together; both models are equally good
        common = np.repeat(rng.normal(size=30), 4)
        labels = common + rng.normal(size=120)
        before, after = (figures(labels, labels + common + rng.normal(size=120)) for _ in range(2))
        [found] = paired_bootstrap(
            before, after, np.repeat(np.arange(30), 4).astype(str), resamples=100, confidence_level=0.9, seed=1
        )
        covered += found.ci_low <= 0 <= found.ci_high
        rejected += found.p_value <= 0.1
    assert 0.82 <= covered / 200 <= 0.97
    assert rejected / 200 <= 0.18


def test_a_clear_difference_is_found_and_one_group_says_nothing() -> None:
    rng = np.random.default_rng(5)
    labels = rng.normal(size=80)
    good, bad = labels + rng.normal(size=80), labels + 5 * rng.normal(size=80)

    def figures(values: np.ndarray) -> Figures:
        return lambda rows: task_metrics(TaskType.STS, Outputs(labels, values[:, None]), rows)

    common: dict[str, Any] = {"resamples": 300, "confidence_level": 0.95, "seed": 1}
    spearman, _ = paired_bootstrap(figures(bad), figures(good), list(map(str, range(80))), **common)
    assert spearman.ci_low > 0
    assert spearman.p_value == pytest.approx(1 / 301)
    assert (spearman.texts, spearman.groups) == (80, 80)
    alone, _ = paired_bootstrap(figures(bad), figures(good), ["one"] * 80, **common)
    assert (alone.ci_low, alone.ci_high, alone.p_value) == (-2.0, 2.0, 1.0)
