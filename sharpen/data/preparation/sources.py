"""Reading everything that a run names, each input as a source with a name and a role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from sharpen.data.dataset import DataSet
from sharpen.data.preparation.data_plan import DataPlan
from sharpen.data.preparation.splits.components import GROUPS
from sharpen.data.preparation.working_set import of_queries
from sharpen.data.readers import InputFile, ReadReport, combine, detect_inputs, distinct_names, read_input, read_pool
from sharpen.data.readers.content import content_hash, content_of_files
from sharpen.data.readers.detect import source_name
from sharpen.data.source_settings import Given, SourceSettings, parse_sources, source_at
from sharpen.data.task_type import task_type
from sharpen.data.window import Window
from sharpen.errors import InputError
from sharpen.progress import progress
from sharpen.typed_json import sha256_json

Role = Literal["train", "eval"]

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
    """

    data: DataSet
    groups: pl.DataFrame
    facts: list[dict[str, object]]
    counts: dict[str, int]


def read_sources(
    train_data: Sequence[Given], eval_data: Sequence[Given], report: ReadReport, corpus: str = ""
) -> Sources:
    """Read all sources; bad rows and notices go to `report`.

    Args:
        train_data, eval_data: sources as `parse_sources` takes them.
        report: takes bad rows and notices.
        corpus: address of more passages; empty: there are none.

    Raises:
        InputError: missing, empty or unusable input, all faults together and before anything is read; evaluation data
            without a dev or test query.
    """
    inputs = _inputs(parse_sources(train_data, "train_data"), parse_sources(eval_data, "eval_data"))
    # one address in both roles must not give two sources of one name
    trained = {item.address for role, item in inputs if role == "train"}
    stems = [
        (f"eval-{item.name}" if role == "eval" and item.address in trained else item.name, item.address)
        for role, item in inputs
    ]
    parts: dict[Role, dict[str, DataSet]] = {"train": {}, "eval": {}}
    facts = []
    size = sum(path.stat().st_size for _, item in inputs for path in item.files.values())
    with progress("reading", size / 1e6, "MB") as reporter:
        report.on_bytes = lambda count: reporter.advance(count / 1e6)
        for (role, item), name in zip(inputs, distinct_names(stems), strict=True):
            before = report.rows
            data = parts[role][name] = read_input(item, name, SPLIT_OF_ROLE[role], report)
            facts.append(_facts(item, role, name, data, report.rows - before))
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
    )


def windows_of(sources: Sources, plan: DataPlan) -> dict[str, Window]:
    """Source of training data -> the window of its rows; those without one are left out."""
    window = Window.of(plan.since, plan.today)
    return {str(fact["name"]): window for fact in sources.facts if fact["role"] == "train" and window}


def _groups_in(data: DataSet) -> pl.DataFrame:
    """text_key, group of the queries that bring a group."""
    return data.queries.filter(pl.col("group").is_not_null()).select("text_key", "group")


def _inputs(train_data: list[SourceSettings], eval_data: list[SourceSettings]) -> list[tuple[Role, InputFile]]:
    found: list[tuple[Role, InputFile]] = []
    faults = [
        f"eval_data: {source.address}: weight and in_batch have no effect where nothing is trained; leave them out"
        for source in eval_data
        if source.weight != 1 or source.in_batch != "all"
    ]
    roles: tuple[tuple[Role, list[SourceSettings]], ...] = (("train", train_data), ("eval", eval_data))
    for role, sources in roles:
        for source in sources:
            try:
                if source.task_type:
                    task_type(source.task_type)
                found.extend((role, item) for item in detect_inputs(source))
            except InputError as error:
                faults += [f"{role}_data: {line}" for line in error.faults]
    faults += _contradictions(train_data)
    if not train_data:
        faults.append("train_data: no address given; name a file, a folder or python-source:stdlib")
    if faults:
        raise InputError(faults)
    return found


def _contradictions(sources: list[SourceSettings]) -> list[str]:
    """A line for each name that several sources have which are to be trained differently."""
    ways: dict[str, set[tuple[float, str]]] = {}
    for source in sources:
        if not source.is_plain:
            ways.setdefault(source_name(source), set()).add((source.weight, source.in_batch))
    return [
        f"train_data: several sources are called {name} and have another weight or in_batch; give them names"
        for name, found in ways.items()
        if len(found) > 1
    ]


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
    remaining = of_queries(part, part.queries.filter(~pl.col("split").is_in(list(splits))))
    others = ~pl.col("split").is_in(list(splits))
    labels = remaining.similarity_labels.filter(others)
    return replace(remaining, qrels=remaining.qrels.filter(others), similarity_labels=labels)


def _as_test(part: DataSet) -> DataSet:
    test = pl.lit("test").alias("split")
    tables = ("queries", "qrels", "similarity_labels")
    return replace(part, **{name: getattr(part, name).with_columns(test) for name in tables})
