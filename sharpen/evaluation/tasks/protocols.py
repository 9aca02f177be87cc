"""What a model makes of each text of a task: cosines, predicted labels, clusters, ranks. `metrics` makes figures of it.

The protocols are MTEB's (Muennighoff et al. 2023, arXiv 2210.07316): classification by logistic regression and k-NN on
a few training texts of each label, drawn several times; clustering by mini-batch k-means with as many clusters as there
are labels; reranking of each query's own list. No text but the queries of reranking has a prompt.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

from sharpen.data.dataset import DataSet
from sharpen.data.relevance import MASKED, left_out
from sharpen.data.task_type import TaskType
from sharpen.data.text import passage_texts
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.evaluation.tasks.task_set import TaskSet
from sharpen.metrics import measure, ranked

logger = logging.getLogger(__name__)

RERANKING_METRICS = ("map", "mrr", "ndcg_at_10")


class Encoders(Protocol):
    """How the texts of tasks are embedded, each as a row of (n, d)."""

    def plain(self, texts: list[str]) -> np.ndarray:
        """Texts without a prompt."""
        ...

    def passages(self, texts: list[str]) -> np.ndarray:
        """Passages of a search, with the model's prompt."""
        ...

    def queries(self, table: pl.DataFrame) -> np.ndarray:
        """Queries of a search, rows of `DataSet.queries`, each with its prompt."""
        ...


@dataclass(frozen=True)
class Outputs:
    """What a model makes of the items of a `TaskSet`, in their order.

    Attributes:
        truth: (n) labels, as numbers; of reranking zeros.
        values: (n, k) cosine; or predictions of the experiments by logistic regression, then by k-NN; or clusters of
            each seed; or `RERANKING_METRICS`.
    """

    truth: np.ndarray
    values: np.ndarray


def outputs_of(task: TaskSet, encoders: Encoders, settings: EvaluationSettings) -> Outputs | None:
    """What a model makes of a task; None, with a warning, where classification has no training text.

    Args:
        task: the texts.
        encoders: the model.
        settings: experiments, seed.
    """
    if task.task_type is TaskType.STS:
        return _similarity(task, encoders)
    if task.task_type is TaskType.RERANKING:
        return _reranking(task, encoders, settings)
    if task.task_type is TaskType.CLUSTERING:
        return _clustering(task, encoders, settings)
    return _classification(task, encoders, settings)


def _similarity(task: TaskSet, encoders: Encoders) -> Outputs:
    queries, passages = task.data.queries, task.data.corpus.with_columns(text=passage_texts(task.data.corpus))
    first = task.items.join(queries.select("query_id", "text"), on="query_id", maintain_order="left")["text"]
    second = task.items.join(passages.select("passage_id", "text"), on="passage_id", maintain_order="left")["text"]
    one, other = (_unit(encoders.plain(texts.to_list())) for texts in (first, second))
    cosines = np.einsum("nd,nd->n", one, other)
    return Outputs(task.items["label"].to_numpy().astype(np.float64), cosines[:, None])


def _codes(task: TaskSet) -> tuple[dict[str, int], np.ndarray]:
    """Label -> its number, of training and measured texts; and the numbers of the measured ones."""
    names = sorted({*task.items["label"], *task.training_texts["label"]})
    codes = {name: number for number, name in enumerate(names)}
    return codes, np.array([codes[label] for label in task.items["label"]], dtype=np.float64)


def _classification(task: TaskSet, encoders: Encoders, settings: EvaluationSettings) -> Outputs | None:
    training = task.training_texts
    if training["label"].n_unique() < 2:
        logger.warning(
            f"note: classification of source {task.source or '(unnamed)'} is not measured: its training texts have "
            f"{training['label'].n_unique()} labels; give it a train split"
        )
        return None
    # slow to import, and needed here only
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    codes, truth = _codes(task)
    labels = np.array([codes[label] for label in training["label"]])
    vectors, measured = encoders.plain(training["text"].to_list()), encoders.plain(task.items["text"].to_list())
    by_regression, by_neighbors = [], []
    for experiment in range(settings.task_experiments):
        rows = _sample(labels, settings.samples_per_label, [settings.seed, experiment])
        regression = LogisticRegression(max_iter=100, random_state=settings.seed)
        voting = KNeighborsClassifier(min(settings.knn_neighbors, len(rows)), metric="cosine")
        with warnings.catch_warnings():
            # MTEB's 100 iterations are its protocol, converged or not
            warnings.simplefilter("ignore")
            by_regression.append(regression.fit(vectors[rows], labels[rows]).predict(measured))
        by_neighbors.append(voting.fit(vectors[rows], labels[rows]).predict(measured))
    return Outputs(truth, np.stack([*by_regression, *by_neighbors], axis=1).astype(np.float64))


def _sample(labels: np.ndarray, most: int, seed: list[int]) -> np.ndarray:
    """Rows of at most `most` texts of each label, in random order."""
    order = np.random.default_rng(seed).permutation(len(labels))
    nth = np.zeros(len(order), dtype=np.int64)
    for label in np.unique(labels):
        of_label = labels[order] == label
        nth[of_label] = np.arange(of_label.sum())
    return order[nth < most]


def _clustering(task: TaskSet, encoders: Encoders, settings: EvaluationSettings) -> Outputs:
    from sklearn.cluster import MiniBatchKMeans

    _, truth = _codes(task)
    vectors = encoders.plain(task.items["text"].to_list())
    found = []
    for experiment in range(settings.task_experiments):
        model = MiniBatchKMeans(
            min(len(np.unique(truth)), len(truth)),
            batch_size=500,
            n_init="auto",
            random_state=settings.seed + experiment,
        )
        found.append(model.fit_predict(vectors))
    return Outputs(truth, np.stack(found, axis=1).astype(np.float64))


def _reranking(task: TaskSet, encoders: Encoders, settings: EvaluationSettings) -> Outputs:
    data = task.data
    queries = task.items.select("query_id").join(data.queries, on="query_id", maintain_order="left")
    grades = reranking_lists(data, queries)
    corpus = data.corpus.filter(pl.col("passage_id").is_in({p for found in grades.values() for p in found}))
    row_of = {passage_id: row for row, passage_id in enumerate(corpus["passage_id"])}
    passages, vectors = encoders.passages(passage_texts(corpus).to_list()), encoders.queries(queries)
    rankings = {}
    for vector, query_id in zip(vectors, queries["query_id"], strict=True):
        ids = list(grades[query_id])
        scores = passages[[row_of[passage_id] for passage_id in ids]] @ vector
        rankings[query_id] = ranked(dict(zip(ids, scores.tolist(), strict=True)))
    names = queries["query_id"].to_list()
    found = measure(grades, rankings, names, RERANKING_METRICS, relevance_level=settings.relevance_level)
    return Outputs(np.zeros(len(names)), np.stack([found[name] for name in RERANKING_METRICS], axis=1))


def reranking_lists(data: DataSet, queries: pl.DataFrame) -> dict[str, dict[str, int]]:
    """query_id -> passage_id -> grade of its list; negatives that the user brought have grade 0."""
    out = left_out(data)
    pairs = pl.concat(
        [
            data.given_negatives.select("query_id", "passage_id", grade=pl.lit(0, pl.Int32)),
            data.qrels.filter(pl.col("split") != MASKED).select("query_id", "passage_id", "grade"),
        ]
    ).join(queries.select("query_id"), on="query_id", how="semi")
    best = pairs.group_by("query_id", "passage_id").agg(pl.col("grade").max()).sort("query_id", "passage_id")
    found: dict[str, dict[str, int]] = {query_id: {} for query_id in queries["query_id"]}
    for query_id, passage_id, grade in best.iter_rows():
        if passage_id not in out.get(query_id, ()):
            found[query_id][passage_id] = grade
    return found


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
