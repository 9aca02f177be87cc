"""A split of a data set as tasks of MTEB: data in the form that its loaders read, and a module that defines the tasks.

The form is that of MTEB 2 (https://github.com/embeddings-benchmark/mteb): a folder a task, as a data set of the Hugging
Face hub, whose README says which file is which configuration and split.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sharpen.data.dataset import DataSet
from sharpen.data.readers import read_dataset
from sharpen.data.relevance import searched_part
from sharpen.data.task_type import TaskType
from sharpen.data.text import passage_texts
from sharpen.errors import InputError
from sharpen.evaluation.split import select_split
from sharpen.evaluation.tasks.protocols import reranking_lists
from sharpen.evaluation.tasks.task_set import TaskSet, task_sets
from sharpen.store import storage

MTEB_TYPES = {
    TaskType.RETRIEVAL: ("Retrieval", "ndcg_at_10"),
    TaskType.RERANKING: ("Reranking", "map_at_1000"),
    TaskType.STS: ("STS", "cosine_spearman"),
    TaskType.CLASSIFICATION: ("Classification", "accuracy"),
    TaskType.CLUSTERING: ("Clustering", "v_measure"),
}
"""MTEB's name of a task type and its main score."""

_MODULE = '''"""Tasks of MTEB, written by `sharpen export-mteb`.

    import mteb
    from tasks import TASKS
    print(mteb.evaluate(mteb.get_model("model folder or name on the hub"), TASKS))
"""

import json
from pathlib import Path

from mteb.abstasks import AbsTaskClassification, AbsTaskClustering, AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata

FOLDER = Path(__file__).resolve().parent
CLASSES = {
    "Retrieval": AbsTaskRetrieval,
    "Reranking": AbsTaskRetrieval,
    "STS": AbsTaskSTS,
    "Classification": AbsTaskClassification,
    "Clustering": AbsTaskClustering,
}


def make_task(entry):
    """The task of an entry of tasks.json."""
    dataset = {"path": str(FOLDER / entry["folder"]), "revision": entry["fingerprint"]}
    metadata = TaskMetadata(dataset=dataset, **entry["metadata"])
    base = CLASSES[metadata.type]
    return type(metadata.name, (base,), {"metadata": metadata, **entry["attributes"]})()


TASKS = [make_task(entry) for entry in json.loads((FOLDER / "tasks.json").read_text(encoding="utf-8"))["tasks"]]
'''


@dataclass(frozen=True)
class _Task:
    """A task to be written: configuration -> split -> table, and attributes of its class."""

    task_type: TaskType
    source: str
    tables: dict[str, dict[str, pl.DataFrame]]
    attributes: dict[str, Any] = field(default_factory=dict)


def export_mteb(
    data: str, output: str, *, name: str, split: str = "test", languages: tuple[str, ...] = ("eng-Latn",)
) -> list[str]:
    """Write the tasks of a split, and return their names.

    Args:
        data: address of the data.
        output: address of the folder, which must be new; gets tasks.py, tasks.json and a folder a task.
        name: what the tasks' names begin with.
        split: whose queries are measured; MTEB learns to classify from the split train.
        languages: of the texts, as ISO 639-3 and 15924 (``eng-Latn``).

    Raises:
        InputError: no such data or split, nothing to measure in it, or a name or language that MTEB would refuse.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise InputError(f"name: {name!r} is no name of a task; use letters, digits, _ and -, a letter first")
    if faulty := [code for code in languages if not re.fullmatch(r"[a-z]{3}-[A-Z][a-z]{3}", code)]:
        raise InputError(f"language: {faulty[0]!r} is no language and script such as eng-Latn, deu-Latn or zho-Hans")
    dataset = read_dataset(data, split)
    tasks = list(_tasks(dataset, split, data))
    if not tasks:
        raise InputError(
            f"{data}: nothing in the split {split} can be measured; name a split that holds judged queries"
        )
    entries = []
    with storage.publish(output, producer="export-mteb") as folder:
        for number, task in enumerate(tasks):
            kind, main_score = MTEB_TYPES[task.task_type]
            same = [other for other in tasks[:number] if other.task_type is task.task_type]
            title = f"{name}{kind}{len(same) + 1 if same else ''}"
            _write(folder / title, task)
            metadata = {
                "name": title,
                "description": f"{task.task_type.value} of {task.source or name}, split {split}",
                "type": kind,
                "category": "t2c" if task.task_type.has_labels else "t2t",
                "modalities": ["text"],
                "eval_splits": [split],
                "eval_langs": list(languages),
                "main_score": main_score,
            }
            entries.append(
                {
                    "folder": title,
                    "fingerprint": dataset.fingerprint(),
                    "metadata": metadata,
                    "attributes": task.attributes,
                }
            )
        text = json.dumps({"tasks": entries}, indent=2, ensure_ascii=False)
        (folder / "tasks.json").write_text(text + "\n", encoding="utf-8")
        (folder / "tasks.py").write_text(_MODULE, encoding="utf-8")
    return [entry["folder"] for entry in entries]


def _tasks(dataset: DataSet, split: str, data: str) -> Iterator[_Task]:
    if searched_part(dataset).qrels_of(split):
        yield _retrieval(dataset, split, data)
    for task in task_sets(dataset, split):
        if task.task_type is TaskType.RERANKING:
            yield _reranking(task, split)
        elif task.task_type is TaskType.STS:
            yield _similarity(task, split)
        elif task.task_type is TaskType.CLUSTERING:
            yield _clustering(task, split)
        elif task.training_texts["label"].n_unique() > 1:
            yield _classification(task, split)


def _retrieval(dataset: DataSet, split: str, data: str) -> _Task:
    """The judged queries of the split over the whole corpus, each passage with its title."""
    measured = select_split(dataset, split, data)
    queries = pl.DataFrame({"id": measured.query_ids, "text": measured.query_texts})
    corpus = pl.DataFrame({"id": measured.passage_ids, "title": "", "text": measured.passage_texts})
    return _Task(TaskType.RETRIEVAL, "", _search(queries, corpus, measured.qrels, split))


def _reranking(task: TaskSet, split: str) -> _Task:
    queries = task.items.select("query_id").join(task.data.queries, on="query_id", maintain_order="left")
    lists = reranking_lists(task.data, queries)
    texts = task.data.corpus.select("passage_id", text=passage_texts(task.data.corpus))
    listed = sorted({passage_id for grades in lists.values() for passage_id in grades})
    corpus = pl.DataFrame({"id": listed, "title": ""}, schema={"id": pl.String, "title": pl.String})
    corpus = corpus.join(texts, left_on="id", right_on="passage_id", maintain_order="left")
    tables = _search(queries.select("text", id="query_id").select("id", "text"), corpus, lists, split)
    ranked = pl.DataFrame({"query-id": list(lists), "corpus-ids": [list(grades) for grades in lists.values()]})
    return _Task(TaskType.RERANKING, task.source, {**tables, "top_ranked": {split: ranked}})


def _search(
    queries: pl.DataFrame, corpus: pl.DataFrame, qrels: Mapping[str, Mapping[str, int]], split: str
) -> dict[str, dict[str, pl.DataFrame]]:
    rows = [(query, passage, grade) for query, grades in qrels.items() for passage, grade in grades.items()]
    schema = {"query-id": pl.String, "corpus-id": pl.String, "score": pl.Int32}
    return {
        "default": {split: pl.DataFrame(rows, schema=schema, orient="row")},
        "queries": {split: queries},
        "corpus": {split: corpus},
    }


def _similarity(task: TaskSet, split: str) -> _Task:
    queries, corpus = task.data.queries, task.data.corpus
    pairs = task.items.join(queries.select("query_id", sentence1="text"), on="query_id", maintain_order="left").join(
        corpus.select("passage_id", sentence2=passage_texts(corpus)), on="passage_id", maintain_order="left"
    )
    table = pairs.select("sentence1", "sentence2", score="label")
    low, high = table.select(low=pl.col("score").min(), high=pl.col("score").max()).row(0)
    return _Task(TaskType.STS, task.source, {"default": {split: table}}, {"min_score": low, "max_score": high})


def _classification(task: TaskSet, split: str) -> _Task:
    tables = {"train": task.training_texts, split: task.items.select("text", "label")}
    return _Task(TaskType.CLASSIFICATION, task.source, {"default": tables})


def _clustering(task: TaskSet, split: str) -> _Task:
    table = task.items.select(sentences="text", labels="label")
    # MTEB's default takes 4 % of the texts
    attributes = {"max_fraction_of_documents_to_embed": None, "max_document_to_embed": None}
    return _Task(TaskType.CLUSTERING, task.source, {"default": {split: table}}, attributes)


def _write(folder: Path, task: _Task) -> None:
    """A data set of the hub: a Parquet file each split, and the README that names them."""
    lines = ["---", "configs:"]
    for config, splits in task.tables.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        (folder / config).mkdir(parents=True)
        for split, table in splits.items():
            table.write_parquet(folder / config / f"{split}.parquet")
            lines += [f"  - split: {split}", f"    path: {config}/{split}.parquet"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]), encoding="utf-8")
