"""Tasks of MTEB by name: ``mteb://<name>[:<subset>]``, as the package `mteb` (extra ``sharpen[mteb]``) loads them.

Data come from the hub, once, or from the cache of `datasets`. What MTEB measures on is the split test here, so that
nothing of a benchmark is trained on by mistake; another split is read where the source names it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpen.data.dataset import DataSet
from sharpen.data.readers import beir
from sharpen.data.readers.columns.table import TableReader
from sharpen.data.readers.data_format import DataFormat, InputFile
from sharpen.data.readers.hub.huggingface import hub_faults, rows_of
from sharpen.data.readers.rows import ReadReport
from sharpen.data.source_settings import MTEB_SCHEME
from sharpen.data.task_type import TaskType, task_type
from sharpen.errors import InputError
from sharpen.progress import without_bars

if TYPE_CHECKING:
    from mteb import AbsTask

_DEFAULT = "default"


def find(address: str) -> InputFile | None:
    """The task behind an ``mteb://`` address.

    Raises:
        InputError: no such task or subset, one that cannot be measured here, or the package is not installed.
    """
    if not address.startswith(MTEB_SCHEME):
        return None
    task, subset = _task(address)
    import mteb

    data = task.metadata.dataset
    version = f"{data['path']} {data['revision']} {subset}, mteb {mteb.__version__}"
    return InputFile(address, task.metadata.name, FORMAT, {}, version)


def _task(address: str) -> tuple[AbsTask, str]:
    """A task and the subset of it that is read."""
    try:
        import mteb
    except ImportError:
        raise InputError(f"{address}: tasks of MTEB need its package; pip install 'sharpen[mteb]'") from None
    name, _, subset = address.removeprefix(MTEB_SCHEME).partition(":")
    try:
        task = mteb.get_task(name)
    except KeyError as error:
        reason = str(error.args[0]).removeprefix("KeyError: ")
        raise InputError(f"{address}: no task of MTEB: {reason}") from None
    _refuse_others(task, address)
    subsets = list(task.metadata.hf_subsets)
    if not subset and len(subsets) > 1:
        raise InputError(f"{address}: has {len(subsets)} subsets; name one, such as {address}:{subsets[0]}")
    if subset and subset not in subsets:
        raise InputError(f"{address}: no subset {subset}; it has {', '.join(subsets)[:300]}")
    return mteb.get_task(name, hf_subsets=[subset] if subset else None), subset or subsets[0]


def _refuse_others(task: AbsTask, address: str) -> None:
    from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy

    try:
        task_type(task.metadata.type)
    except InputError:
        raise InputError(
            f"{address}: a task of type {task.metadata.type}, which is not measured here; those of "
            "Retrieval, Reranking, STS, Classification and Clustering are"
        ) from None
    if list(task.metadata.modalities) != ["text"]:
        raise InputError(f"{address}: a task of {', '.join(task.metadata.modalities)}; only those of text can be read")
    if isinstance(task, AbsTaskClusteringLegacy):
        newer = task.metadata.superseded_by or f"{task.metadata.name}.v2"
        raise InputError(
            f"{address}: its figure is a mean over many small sets, which is not measured here; take {newer}"
        )


def read(item: InputFile, source: str, split: str, report: ReadReport) -> DataSet:
    """Read a task.

    Args:
        item: the task.
        source: name of the source that the queries get.
        split: of the rows, where the source names a split of the task.
        report: takes bad rows and notices.

    Raises:
        InputError: the data are neither on this machine nor given by the hub, or have no such split.
    """
    task, subset = _task(item.address)
    if item.source.split:
        task.filter_eval_splits([item.source.split])
    with hub_faults(item.address), without_bars():
        task.load_data()
    kind = task_type(task.metadata.type)
    typed = replace(item, settings=item.source.model_copy(update={"task_type": item.source.task_type or kind.value}))
    parts = _parts(task, subset, item)
    splits = {name: _our_split(name, item, task, split) for name in parts}
    if kind in (TaskType.RETRIEVAL, TaskType.RERANKING):
        return _read_search({splits[name]: part for name, part in parts.items()}, kind, typed, source, report)
    table = TableReader(typed, source, split, report)
    columns = _columns(task)
    for name, part in parts.items():
        shown = f"{item.address}, split {name}"
        if missing := [column for column in columns if column not in part.column_names]:
            raise InputError(f"{shown}: no column {missing[0]}; it has {', '.join(part.column_names)[:300]}")
        renamed = part.select_columns(list(columns)).rename_columns(columns)
        table.read(shown, list(columns.values()), rows_of(renamed, shown), splits[name])
    return table.data_set()


def _our_split(name: str, item: InputFile, task: AbsTask, split: str) -> str:
    if item.source.split:
        return split
    if name not in task.eval_splits:
        return "train"
    return beir.SPLIT_OF_FILE.get(name, "test") if len(task.eval_splits) > 1 else "test"


def _parts(task: AbsTask, subset: str, item: InputFile) -> dict[str, Any]:
    """The splits that are read, by their names: those that are measured, and train."""
    loaded: Any = task.dataset or {}
    if subset in loaded:
        loaded = loaded[subset]
    wanted = [*task.eval_splits, *([] if item.source.split else ["train"])]
    if missing := [name for name in task.eval_splits if name not in loaded]:
        raise InputError(f"{item.address}: no split {missing[0]}; it has {', '.join(loaded)[:300]}")
    return {name: loaded[name] for name in dict.fromkeys(wanted) if name in loaded}


def _columns(task: Any) -> dict[str, str]:
    """The task's columns, and what they are called here."""
    if task.metadata.type == "STS":
        first, second = task.column_names
        return {first: "sentence1", second: "sentence2", "score": "score"}
    return {task.input_column_name: "text", task.label_column_name: "label"}


def _read_search(parts: Mapping[str, Any], kind: TaskType, item: InputFile, source: str, report: ReadReport) -> DataSet:
    """Corpus, queries and judgements by split, read as the BEIR folder that they are."""
    with tempfile.TemporaryDirectory(prefix="sharpen-mteb-") as name:
        folder = Path(name)
        (folder / "qrels").mkdir()
        _write_rows(folder / "corpus.jsonl", (row for part in parts.values() for row in _passages(part)))
        _write_rows(folder / "queries.jsonl", (row for part in parts.values() for row in _queries(part, kind)))
        for split, part in parts.items():
            lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in _judgements(part))]
            (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        return beir.read(replace(item, format=beir.FORMAT, files=files), source, "test", report)


def _passages(part: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for row in part["corpus"]:
        yield {"_id": row["id"], "title": row.get("title") or "", "text": row.get("text") or ""}


def _queries(part: Mapping[str, Any], kind: TaskType) -> Iterator[dict[str, str]]:
    for row in part["queries"]:
        yield {"_id": row["id"], "text": row["text"], "task_type": kind.value}


def _judgements(part: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Of a list to be put in order every passage is judged: those without a grade are not relevant."""
    for query_id, grades in part["relevant_docs"].items():
        listed = dict.fromkeys((part.get("top_ranked") or {}).get(query_id, ()), 0)
        for passage_id, grade in {**listed, **grades}.items():
            yield query_id, passage_id, int(grade)


def _write_rows(path: Path, rows: Iterator[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


FORMAT = DataFormat("MTEB", f"a task of MTEB ({MTEB_SCHEME}NAME)", read, find=find)
