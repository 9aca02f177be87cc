"""Tasks of MTEB by their names: exported ones, which its package loads as it does its own, read back."""

from __future__ import annotations

import importlib.util
import sys

import polars as pl
import pytest

pytest.importorskip("mteb")

from sharpen.data.dataset import DataSet
from sharpen.data.readers import read_dataset
from sharpen.data.readers.content import content_of
from sharpen.data.task_type import TaskType
from sharpen.data.text import passage_texts
from sharpen.errors import InputError
from sharpen.evaluation.tasks.mteb_export import export_mteb
from sharpen.store import storage
from tests.sharpen.evaluation.tasks.test_measure import with_test_split
from tests.sharpen.training.mixed_data import mixed_data


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """The mixed data, whose test split the package knows as tasks."""
    from mteb import get_tasks

    root = tmp_path_factory.mktemp("export")
    data = with_test_split(mixed_data())
    with storage.publish(str(root / "data"), producer="test") as folder:
        data.save(folder)
    export_mteb(str(root / "data"), str(root / "tasks"), name="Read")
    spec = importlib.util.spec_from_file_location("tasks_to_read", root / "tasks" / "tasks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["tasks_to_read"] = module
    spec.loader.exec_module(module)
    registry = sys.modules[get_tasks.__module__]._TASKS_REGISTRY  # type: ignore[attr-defined]
    registry.update({task.metadata.name: type(task) for task in module.TASKS})
    return data


def judgements(data: DataSet, kind: TaskType) -> set[tuple[str, str, int, str]]:
    """Text of query and passage, grade and split of every judgement of a task type."""
    queries = data.queries
    if "task_type" not in queries.columns:
        queries = queries.with_columns(task_type=pl.lit(TaskType.RETRIEVAL.value))
    texts = data.corpus.select("passage_id", passage=passage_texts(data.corpus))
    rows = data.qrels.join(queries.filter(task_type=kind.value).select("query_id", "text"), on="query_id")
    return set(rows.join(texts, on="passage_id").select("text", "passage", "grade", "split").iter_rows())


def test_search_is_read_with_corpus_and_judgements(exported: DataSet) -> None:
    read = read_dataset("mteb://ReadRetrieval")
    expected = {row for row in judgements(exported, TaskType.RETRIEVAL) if row[3] == "test"}
    assert judgements(read, TaskType.RETRIEVAL) == expected
    # passages that nobody judged are searched too
    assert read.corpus.height > len({passage for _, passage, _, _ in expected})
    assert set(read.queries["source"]) == {"ReadRetrieval"}
    lists = read_dataset("mteb://ReadReranking")
    assert {row for row in judgements(exported, TaskType.RERANKING) if row[3] == "test"} == judgements(
        lists, TaskType.RERANKING
    )


def test_labelled_pairs_and_texts_are_read(exported: DataSet) -> None:
    pairs = read_dataset("mteb://ReadSTS").similarity_labels
    sources = exported.similarity_labels.filter(split="test").join(exported.queries, on="query_id").group_by("source")
    assert sorted(pairs["label"]) in [sorted(labels) for _, labels in sources.agg("label").iter_rows()]
    assert set(pairs["split"]) == {"test"}
    texts = read_dataset("mteb://ReadClassification").queries
    assert set(texts["task_type"]) == {TaskType.CLASSIFICATION}
    of_ours = exported.queries.filter(task_type=TaskType.CLASSIFICATION.value)
    for split in ("train", "test"):
        measured = set(texts.filter(split=split).select("text", "label").iter_rows())
        assert measured and measured <= set(of_ours.filter(split=split).select("text", "label").iter_rows())
    clusters = read_dataset("mteb://ReadClustering").queries
    assert set(clusters["task_type"]) == {TaskType.CLUSTERING} and set(clusters["split"]) == {"test"}


def test_a_named_split_has_the_split_of_its_source(exported: DataSet) -> None:
    source = '[{"address": "mteb://ReadClassification", "split": "train"}]'
    assert set(read_dataset(source, "train").queries["split"]) == {"train"}
    with pytest.raises(InputError, match="no split dev"):
        read_dataset('[{"address": "mteb://ReadClassification", "split": "dev"}]')


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("mteb://SciFactt", "Did you mean: 'SciFact'"),
        ("mteb://MIRACLRetrieval", "has 18 subsets; name one, such as mteb://MIRACLRetrieval:ar"),
        ("mteb://MIRACLRetrieval:xx", "no subset xx; it has ar, bn"),
        ("mteb://TwentyNewsgroupsClustering", r"many small sets.*take .*v2"),
        ("mteb://BornholmBitextMining", "type BitextMining"),
    ],
)
def test_what_cannot_be_read(address: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_dataset(address)


def test_the_content_is_that_of_the_tasks_version(exported: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    import mteb

    before = content_of("mteb://ReadRetrieval")
    assert content_of("mteb://ReadRetrieval") == before
    monkeypatch.setattr(mteb, "__version__", "0")
    assert content_of("mteb://ReadRetrieval") != before


def test_data_that_are_not_there_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"^mteb://SciFact: neither in the cache of this machine"):
        read_dataset("mteb://SciFact")
