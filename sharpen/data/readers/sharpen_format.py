"""Finished data sets, as the data_prep step writes them."""

from __future__ import annotations

import polars as pl

from sharpen.data.dataset import OF_PAIRS, SPLITS, DataSet
from sharpen.data.readers.data_format import DataFormat, InputFile, last_part
from sharpen.data.readers.rows import ReadReport
from sharpen.data.relevance import MASKED
from sharpen.data.task_type import TaskType
from sharpen.errors import InputError
from sharpen.store import storage

_MAY_BE_NULL = frozenset({"group", "time"})


def find(address: str) -> InputFile | None:
    """The data set at the address of a finished folder."""
    if not storage.is_complete(address):
        return None
    folder = storage.open_artifact(address)
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.parquet"))}
    return InputFile(address, last_part(address), FORMAT, files)


def refuse_unfinished(address: str, names: set[str]) -> list[str]:
    """Raise InputError for a folder with tables that no manifest lists."""
    if any(name.endswith(".parquet") and name.startswith(("corpus/", "queries/", "qrels/")) for name in names):
        raise InputError(f"{address}: an unfinished data set (no {storage.MARKER}); run the step that writes it again")
    return []


def read(item: InputFile, source: str, split: str, report: ReadReport) -> DataSet:
    """Read a finished data set; its rows were checked when it was written, and bring their source and split.

    Args:
        item: the data set.
        source, split: not used.
        report: gets the number of rows.

    Raises:
        InputError: a file is damaged, or its tables do not fit together: another program wrote them.
    """
    data = DataSet.open(item.address)
    refuse_faults(data, item.address)
    report.rows += sum(data.counts().values())
    return data


def refuse_faults(data: DataSet, shown: str) -> None:
    """Raise InputError when values are missing, or ids repeat or are in no row.

    Passages and queries that nothing refers to may be missing, and columns that the caller does not need.
    """
    if fault := _fault_of(data):
        raise InputError(f"{shown}: {fault}; this is not what data_prep wrote, run it again")


def _fault_of(data: DataSet) -> str:
    for name in data.counts():
        table: pl.DataFrame = getattr(data, name)
        for column in table.columns:
            if column not in _MAY_BE_NULL and table[column].null_count():
                return f"{name}: column {column} has empty cells"
    for name, key in (("corpus", "passage_id"), ("queries", "query_id")):
        ids = getattr(data, name)[key]
        if ids.n_unique() < len(ids):
            return f"{name}: a {key} stands twice"
        for referring in OF_PAIRS:
            unknown = getattr(data, referring).join(getattr(data, name), on=key, how="anti")
            if unknown.height:
                return f"{referring}: {key} {unknown[key][0]!r} is not in {name}"
    for name in ("queries", "qrels", "similarity_labels"):
        table = getattr(data, name)
        known = {*SPLITS, MASKED} if name == "qrels" else {*SPLITS}
        if other := sorted(set(table["split"].unique() if "split" in table.columns else ()) - known):
            return f"{name}: {other[0]!r} is no split; expected {', '.join(SPLITS)}"
    if not data.teacher_scores["score"].is_finite().all():
        return "teacher_scores: a score is not a finite number"
    if not data.similarity_labels["label"].is_finite().all():
        return "similarity_labels: a label is not a finite number"
    if other := sorted(set(data.queries["task_type"].unique()) - set(TaskType)):
        return f"queries: {other[0]!r} is no task type; expected {', '.join(TaskType)}"
    return ""


FORMAT = DataFormat("finished data set", "a finished data set", read, select=refuse_unfinished, find=find)
