"""Reading everything that a run names, each input as a source with a name and a role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import polars as pl

from sharpen.data.dataset import DataSet, with_optional
from sharpen.data.preparation.data_plan import DataPlan
from sharpen.data.preparation.inputs import Input, Role, find_inputs
from sharpen.data.preparation.splits.components import GROUPS
from sharpen.data.preparation.working_set import without_queries
from sharpen.data.readers import InputFile, ReadReport, combine, distinct_names, read_input, read_pool
from sharpen.data.readers.content import content_hash, content_of_files
from sharpen.data.source_settings import Given, source_at
from sharpen.data.window import Window
from sharpen.errors import InputError
from sharpen.progress import progress
from sharpen.typed_json import sha256_json

# the pool among the parts; no source has this name, since names of files have no slash
_POOL = "data/corpus"
# for inputs that bring no split
SPLIT_OF_ROLE: dict[Role, str] = {"train": "train", "eval": "test"}


@dataclass(frozen=True)
class Sources:
    """All inputs, read.

    Attributes:
        data: everything, with the split that the inputs say; passages and queries may repeat under other ids.
        groups: text_key, group: queries whose texts belong together when splits are cut.
        facts: of each source: name, address, role, kind, rows, queries, hash of its content.
        counts: queries that were left out because of their role -> how many.
        windows: source of training data -> the window of its rows; those without one are left out.
        files: setting of a window -> how many files were read and left out, and by what.
    """

    data: DataSet
    groups: pl.DataFrame
    facts: list[dict[str, object]]
    counts: dict[str, int]
    windows: dict[str, Window]
    files: dict[str, dict[str, int]]


def read_sources(
    train_data: Sequence[Given],
    eval_data: Sequence[Given],
    report: ReadReport,
    corpus: str = "",
    plan: DataPlan | None = None,
) -> Sources:
    """Read all sources; bad rows and notices go to `report`.

    Args:
        train_data, eval_data: sources as `parse_sources` takes them.
        report: takes bad rows and notices.
        corpus: address of more passages; empty: there are none.
        plan: windows of the training data; None: there are none.

    Raises:
        NothingNew: every file of the training data is older than its window.
        InputError: missing, empty or unusable input, all faults together and before anything is read; evaluation data
            without a dev or test query.
    """
    inputs = find_inputs(train_data, eval_data, plan or DataPlan())
    names = _names(inputs.found)
    parts: dict[Role, dict[str, DataSet]] = {"train": {}, "eval": {}}
    facts = []
    windows = {name: one.window for one, name in zip(inputs.found, names, strict=True) if one.window}
    size = sum(path.stat().st_size for one in inputs.found for path in one.item.files.values())
    with progress("reading", size / 1e6, "MB") as reporter:
        report.on_bytes = lambda count: reporter.advance(count / 1e6)
        for one, name in zip(inputs.found, names, strict=True):
            before = report.rows
            data = _with_times(read_input(one.item, name, SPLIT_OF_ROLE[one.role], report), one)
            parts[one.role][name] = data
            facts.append(_facts(one.item, one.role, name, data, report.rows - before))
    _check_windows(inputs.found, parts["train"])
    groups = [_groups_in(data) for role in parts.values() for data in role.values()]
    groups.append(pl.DataFrame(list(report.groups), schema=GROUPS, orient="row"))
    counts = _apply_roles(parts)
    pool = {}
    if corpus:
        pool = {_POOL: read_pool(source_at(corpus), report)}
        facts.append(
            {"name": "corpus", "address": corpus, "role": "corpus", "kind": "passages", "rows": 0, "queries": 0}
        )
        facts[-1] |= {"passages": pool[_POOL].corpus.height, "sha256": sha256_json(content_of_files(corpus))}
    return Sources(
        combine({**pool, **parts["train"], **parts["eval"]}),
        pl.concat(groups).unique().sort("text_key", "group"),
        sorted(facts, key=lambda fact: (fact["role"] == "eval", fact["name"])),
        counts,
        windows,
        inputs.files,
    )


def _names(inputs: list[Input]) -> list[str]:
    """A name for each source; one address in both roles must not give two of one name."""
    trained = {one.item.address for one in inputs if one.role == "train"}
    stems = []
    for one in inputs:
        repeats = one.role == "eval" and one.item.address in trained
        stems.append((f"eval-{one.item.name}" if repeats else one.item.name, one.item.address))
    return distinct_names(stems)


def _groups_in(data: DataSet) -> pl.DataFrame:
    """text_key, group of the queries that bring a group."""
    return data.queries.filter(pl.col("group").is_not_null()).select("text_key", "group")


def _with_times(data: DataSet, one: Input) -> DataSet:
    """The data of one input; queries of files before the window are, where they have no time, older than it."""
    if not (one.older and one.window):
        return data
    before = one.window.start - timedelta(microseconds=1)
    queries = with_optional("queries", data.queries, ["time"])
    return replace(data, queries=queries.with_columns(pl.col("time").fill_null(before)))


def _check_windows(inputs: list[Input], parts: Mapping[str, DataSet]) -> None:
    """Raise InputError where a window leaves nothing out because nothing of what it is for can be judged by it.

    Args:
        inputs: all inputs.
        parts: source -> its data, of those that are trained on.
    """
    decidable: dict[tuple[str, str], bool] = {}
    for one, name in zip(inputs, _names(inputs), strict=True):
        if one.window:
            times = parts[name].queries.get_column("time", default=None)
            timed = times is not None and times.null_count() < times.len()
            settings = one.item.settings
            scope = one.item.address if settings and settings.since else ""
            key = (scope, one.window.given)
            decidable[key] = decidable.get(key, False) or timed or one.by_file
    if faults := [
        f"{scope or 'train_data'}: since is {given}, but none of its queries has a time; name the column (columns: "
        "{time: ...}), or a folder or an address with wildcards whose files have dates in their paths"
        for (scope, given), found in decidable.items()
        if not found
    ]:
        raise InputError(faults)


def _facts(item: InputFile, role: Role, name: str, data: DataSet, rows: int) -> dict[str, object]:
    facts: dict[str, object] = {"name": name, "address": item.address, "role": role, "kind": item.format.name}
    facts |= {"rows": rows, "queries": data.queries.height, "passages": data.corpus.height}
    facts["sha256"] = content_hash(item)
    facts |= {"version": item.version} if item.version else {}
    facts |= {"licence": item.source.licence} if item.source.licence else {}
    return {**facts, "settings": item.settings.settings()} if item.settings else facts


def _apply_roles(parts: dict[Role, dict[str, DataSet]]) -> dict[str, int]:
    """Leave in each input the splits that its role allows, and count the queries that this removes.

    Evaluation data train nothing. They replace the test split of the training data, and its dev split if they bring
    one; what is replaced is not trained on. A dev split alone serves as test.
    """
    if not parts["eval"]:
        return {}
    brought = {split for part in parts["eval"].values() for split in part.queries["split"]} - {"train"}
    if not brought:
        raise InputError("eval_data: no dev or test query in it; name a BEIR folder with qrels/test.tsv, or rows")
    as_test = brought == {"dev"}
    counts = {
        "training_queries_of_eval_data": 0,
        "held_out_queries_replaced_by_eval_data": 0,
        "judged_pairs_of_splits_left_out": 0,
    }
    for name, part in parts["eval"].items():
        remaining = _without_splits(part, {"train"})
        counts["judged_pairs_of_splits_left_out"] += part.qrels.height - remaining.qrels.height
        counts["training_queries_of_eval_data"] += part.queries.height - remaining.queries.height
        parts["eval"][name] = _as_test(remaining) if as_test else remaining
    replaced = {"test"} if as_test else brought
    for name, part in parts["train"].items():
        remaining = _without_splits(part, replaced)
        counts["judged_pairs_of_splits_left_out"] += part.qrels.height - remaining.qrels.height
        counts["held_out_queries_replaced_by_eval_data"] += part.queries.height - remaining.queries.height
        parts["train"][name] = remaining
    return counts


def _without_splits(part: DataSet, splits: set[str]) -> DataSet:
    remaining = without_queries(part, part.queries.filter(pl.col("split").is_in(list(splits))))
    others = ~pl.col("split").is_in(list(splits))
    labels = remaining.similarity_labels.filter(others)
    return replace(remaining, qrels=remaining.qrels.filter(others), similarity_labels=labels)


def _as_test(part: DataSet) -> DataSet:
    test = pl.lit("test").alias("split")
    tables = ("queries", "qrels", "similarity_labels")
    return replace(part, **{name: getattr(part, name).with_columns(test) for name in tables})
