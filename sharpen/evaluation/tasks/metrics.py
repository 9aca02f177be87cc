"""Figures of a task from what a model made of its texts, for all of them or any resample.

- ``sts``: ``spearman`` and ``pearson`` correlation of cosines with the labels.
- ``classification``: ``accuracy`` and macro ``f1`` of logistic regression, ``knn_accuracy`` and ``knn_f1`` of k-NN;
  means over the experiments.
- ``clustering``: ``v_measure`` (Rosenberg & Hirschberg 2007), mean over the seeds.
- ``reranking``: ``map``, ``mrr`` and ``ndcg_at_10`` of each query's list (`sharpen.metrics`).
"""

from __future__ import annotations

import numpy as np

from sharpen.data.task_type import TaskType
from sharpen.evaluation.tasks.protocols import RERANKING_METRICS, Outputs

METRICS: dict[TaskType, tuple[str, ...]] = {
    TaskType.STS: ("spearman", "pearson"),
    TaskType.CLASSIFICATION: ("accuracy", "f1", "knn_accuracy", "knn_f1"),
    TaskType.CLUSTERING: ("v_measure",),
    TaskType.RERANKING: RERANKING_METRICS,
}


def task_metrics(kind: TaskType, outputs: Outputs, rows: np.ndarray | None = None) -> np.ndarray:
    """The figures of `METRICS` of a task type, in their order.

    Args:
        kind: task type.
        outputs: of a model.
        rows: (m) items that count, with repeats; None: all.
    """
    truth, values = outputs.truth, outputs.values
    if rows is not None:
        truth, values = truth[rows], values[rows]
    if kind is TaskType.STS:
        return _correlations(values[:, 0], truth)
    if kind is TaskType.RERANKING:
        return values.mean(axis=0)
    if kind is TaskType.CLUSTERING:
        return np.array([np.mean([v_measure(truth, column) for column in values.T])])
    halves = np.split(values, 2, axis=1)
    found = []
    for half in halves:
        found += [(half == truth[:, None]).mean(), np.mean([macro_f1(truth, column) for column in half.T])]
    return np.array(found)


def _correlations(cosines: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Spearman's and Pearson's; 0 where one side is constant."""
    from scipy import stats

    if np.ptp(cosines) == 0 or np.ptp(labels) == 0:
        return np.zeros(2)
    ranks = stats.rankdata(cosines), stats.rankdata(labels)
    return np.array([np.corrcoef(*ranks)[0, 1], np.corrcoef(cosines, labels)[0, 1]])


def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over the labels that occur of the harmonic mean of precision and recall."""
    table = _contingency(truth, predicted, square=True)
    total = table.sum(axis=0) + table.sum(axis=1)
    occurs = total > 0
    return float((2 * table.diagonal()[occurs] / total[occurs]).mean())


def v_measure(truth: np.ndarray, clusters: np.ndarray) -> float:
    """Harmonic mean of homogeneity and completeness of `clusters` by labels `truth`, both (n) numbers."""
    share = _contingency(truth, clusters) / len(truth)
    by_label, by_cluster = share.sum(axis=1), share.sum(axis=0)
    labels, parts = _entropy(by_label), _entropy(by_cluster)
    common = labels + parts - _entropy(share.reshape(-1))
    homogeneity = common / labels if labels else 1.0
    completeness = common / parts if parts else 1.0
    return 2 * homogeneity * completeness / (homogeneity + completeness) if homogeneity + completeness > 0 else 0.0


def _contingency(first: np.ndarray, second: np.ndarray, *, square: bool = False) -> np.ndarray:
    """How many rows have each pair of whole numbers."""
    first, second = first.astype(np.int64), second.astype(np.int64)
    height, width = int(first.max()) + 1, int(second.max()) + 1
    if square:
        height = width = max(height, width)
    return np.bincount(first * width + second, minlength=height * width).reshape(height, width).astype(np.float64)


def _entropy(shares: np.ndarray) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())
