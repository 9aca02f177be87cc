"""What is made of a model's embeddings, with embeddings that are known."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, ndcg_score

from sharpen.data.dataset import DataSet
from sharpen.data.task_type import TaskType
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.evaluation.tasks.metrics import task_metrics
from sharpen.evaluation.tasks.protocols import outputs_of
from sharpen.evaluation.tasks.task_set import TaskSet, task_sets
from tests.sharpen.training.mixed_data import LABELS, labelled, lists, mixed_data, similar

SETTINGS = EvaluationSettings(task_experiments=3, samples_per_label=2, knn_neighbors=1)


class Known:
    """Embeddings drawn by text; of labelled texts near their label's corner where `labels` are given."""

    def __init__(self, labels: dict[str, str] | None = None) -> None:
        self.labels = labels or {}

    def plain(self, texts: list[str]) -> np.ndarray:
        return np.stack([self._one(text) for text in texts])

    passages = plain

    def queries(self, table: pl.DataFrame) -> np.ndarray:
        return self.plain([f"prompt {text}" for text in table["text"]])

    def _one(self, text: str) -> np.ndarray:
        vector = np.random.default_rng(list(text.encode())).normal(size=8)
        if text in self.labels:
            vector = 0.1 * vector + 10 * np.eye(8)[LABELS.index(self.labels[text])]
        return vector


def only(data: DataSet) -> TaskSet:
    [task] = task_sets(data, "test")
    return task


def test_pairs_are_measured_by_cosine_without_prompts() -> None:
    data = similar("sts")
    found = outputs_of(only(data), Known(), SETTINGS)
    texts = dict(data.corpus.select("passage_id", "text").iter_rows())
    asked = dict(data.queries.select("query_id", "text").iter_rows())
    expected = []
    for query, passage, label, split in data.similarity_labels.sort("query_id", "passage_id").iter_rows():
        if split == "test":
            one, other = Known().plain([asked[query], texts[passage]])
            expected.append((label, one @ other / np.linalg.norm(one) / np.linalg.norm(other)))
    assert found is not None
    assert found.truth.tolist() == [label for label, _ in expected]
    assert found.values[:, 0] == pytest.approx([cosine for _, cosine in expected])
    assert len(expected) == 3


def test_lists_are_ranked_with_prompts_and_given_negatives_are_in_them() -> None:
    data = lists("lists")
    data.given_negatives = pl.DataFrame({"query_id": ["lists1"], "passage_id": ["lists0p0"]})
    task = only(data)
    found = outputs_of(task, Known(), SETTINGS)
    texts = dict(data.corpus.select("passage_id", "text").iter_rows())
    assert found is not None
    for number, query_id in enumerate(task.items["query_id"]):
        grades = dict(data.qrels.filter(query_id=query_id).select("passage_id", "grade").iter_rows())
        grades |= {"lists0p0": 0} if query_id == "lists1" else {}
        vectors = Known().plain([texts[passage_id] for passage_id in grades])
        [query] = Known().queries(data.queries.filter(query_id=query_id))
        scores, relevance = vectors @ query, np.array(list(grades.values()))
        first = 1 + min(np.flatnonzero(relevance[np.argsort(-scores)] > 0))
        expected = [average_precision_score(relevance > 0, scores), 1 / first, ndcg_score([relevance], [scores], k=10)]
        assert found.values[number] == pytest.approx(expected)


def test_classification_is_logistic_regression_and_knn_on_a_few_texts_of_each_label() -> None:
    data = labelled(TaskType.CLASSIFICATION, "topics", texts=60)
    # a text with two labels is the neighbour that misleads
    data.queries = data.queries.filter(pl.col("query_id") != "topics-again")
    by_text = dict(data.queries.select("text", "label").reverse().iter_rows())
    task = only(data)
    found = outputs_of(task, Known(by_text), SETTINGS)
    assert found is not None
    assert found.values.shape == (15, 6)
    assert task_metrics(TaskType.CLASSIFICATION, found).tolist() == [1, 1, 1, 1]
    assert np.array_equal(outputs_of(task, Known(by_text), SETTINGS).values, found.values)  # type: ignore[union-attr]
    # embeddings that know nothing of the labels: what scikit-learn makes of them when all training texts are taken
    every = SETTINGS.model_copy(update={"samples_per_label": 10_000, "task_experiments": 1})
    blind = outputs_of(task, Known(), every)
    assert blind is not None
    names = sorted(LABELS)
    training = task.training_texts
    model = LogisticRegression(max_iter=1000).fit(
        Known().plain(training["text"].to_list()), [names.index(label) for label in training["label"]]
    )
    expected = model.predict(Known().plain(task.items["text"].to_list()))
    assert (blind.values[:, 0] == expected).mean() >= 14 / 15
    assert task_metrics(TaskType.CLASSIFICATION, blind)[0] < 0.8


def test_clustering_finds_what_is_apart() -> None:
    data = labelled(TaskType.CLUSTERING, "kinds", texts=60)
    by_text = dict(data.queries.select("text", "label").reverse().iter_rows())
    found = outputs_of(only(data), Known(by_text), SETTINGS)
    blind = outputs_of(only(data), Known(), SETTINGS)
    assert found is not None and blind is not None
    assert task_metrics(TaskType.CLUSTERING, found)[0] > 0.8 > 2 * task_metrics(TaskType.CLUSTERING, blind)[0]


def test_without_training_texts_classification_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    data = labelled(TaskType.CLASSIFICATION, "topics")
    data.queries = data.queries.filter(split="test")
    assert outputs_of(only(data), Known(), SETTINGS) is None
    assert "classification of source topics is not measured" in caplog.text


def test_training_texts_of_another_source_serve_where_labels_are_the_same() -> None:
    data = labelled(TaskType.CLASSIFICATION, "topics")
    moved = pl.when(pl.col("split") == "test").then(pl.lit("held out")).otherwise("source")
    data.queries = data.queries.with_columns(source=moved)
    assert only(data).training_texts.height == data.queries.filter(split="train").height


def test_what_a_champion_was_trained_on_is_left_out() -> None:
    data = mixed_data()
    all_items = {(task.task_type, task.source): task.items.height for task in task_sets(data, "test")}
    assert set(all_items) == {
        *(("sts", "sts"), ("sts", "other"), ("reranking", "lists")),
        *(("classification", "topics"), ("clustering", "kinds")),
    }
    seen = data.queries.filter(source="topics", split="test")["text_key"].to_list()[:1]
    fewer = {(task.task_type, task.source): task.items.height for task in task_sets(data, "test", seen)}
    assert fewer[TaskType.CLASSIFICATION, "topics"] == all_items[TaskType.CLASSIFICATION, "topics"] - 1
