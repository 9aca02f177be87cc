"""Which queries are held out as dev and test, and that training has seen nothing of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from sharpen.data.dataset import with_groups
from sharpen.data.generated import of_people
from sharpen.data.preparation.data_plan import DataPlan
from sharpen.data.preparation.settings import DataSettings
from sharpen.data.preparation.splits.assignment import TRAIN, Slice, lots
from sharpen.data.preparation.splits.components import Components
from sharpen.data.preparation.splits.earlier import earlier_splits
from sharpen.data.preparation.splits.leaks import Leaks, describe, find_leaks, leak_rules, refuse
from sharpen.data.preparation.splits.selection import Selection
from sharpen.data.preparation.splits.units import SPLIT_CODES, Queries, facts, splits_of
from sharpen.data.preparation.working_set import WorkingSet
from sharpen.data.relevance import MASKED
from sharpen.data.text import key_ids
from sharpen.data.window import Window
from sharpen.errors import InputError
from sharpen.hardware.spill import in_slices, rows_of, with_column


def make_splits(
    work: WorkingSet,
    groups: pl.DataFrame,
    settings: DataSettings,
    plan: DataPlan | None = None,
    windows: Mapping[str, Window] | None = None,
) -> Leaks:
    """Cut the dev and test splits that the input does not bring, remove leaks, select what is trained on.

    Queries with neither a positive passage nor a label are left out first, since they can be neither trained on nor
    answered. Every query gets a group: its own, else the component by which splits are cut, else, where none are cut,
    its id.

    Args:
        work: the data; changed in place.
        groups: text_key, group of queries that belong together.
        settings: shares, limits and what to do about leaks.
        plan: what earlier runs fix, and what is trained on; None: nothing, and everything.
        windows: source of training data -> the window of its rows.

    Raises:
        InputError: leaks where they are forbidden, or a train or test split without queries.
        NothingNew: nothing is left that may be trained on.
    """
    plan, leaks = plan or DataPlan(), Leaks()
    in_several_splits = _one_split_each(work, leaks)
    work.leave_out(work.useless(), "queries_without_positive")
    work.brought_splits = set(work.data.queries["split"].unique())
    selection = Selection.of(work, plan, windows or {})
    _cut(work, groups, settings, plan, selection)
    work.data = replace(work.data, queries=with_groups(work.data.queries))
    find_leaks(work.data.queries, work.data.qrels, leaks, leak_rules(settings, work.brought_splits, groups))
    if settings.on_leak == "fail":
        refuse(leaks, work.data.queries, in_several_splits)
    work.leave_out(pl.DataFrame({"query_id": list(leaks.query_ids)}, {"query_id": pl.String}), "leaking_queries")
    work.mask(leaks.masked)
    work.counts["positives_masked"] = leaks.masked.height
    selection.apply(work, settings.seed)
    _limit(work, settings)
    _check(work, leaks, settings)
    return leaks


def _cut(work: WorkingSet, groups: pl.DataFrame, settings: DataSettings, plan: DataPlan, selection: Selection) -> None:
    slices = [
        Slice("test", settings.test_share, settings.max_test_queries),
        Slice("dev", settings.dev_share, settings.max_dev_queries),
    ]
    slices = [part for part in slices if part.share and part.split not in work.brought_splits]
    train = _train(work.data.queries)
    if train.is_empty() or not slices:
        return
    fixed = plan if settings.freeze_splits else replace(plan, held_out="")
    earlier = earlier_splits(train, work.data.queries["query_id"], fixed)
    earlier = earlier.filter(pl.col("earlier").is_in([TRAIN, *(part.split for part in slices)]))
    train, earlier = selection.without_older(work, train, earlier)
    if train.is_empty():
        return
    grouped = groups.clear() if settings.split_groups else groups
    queries = Queries.of(train, earlier, work.shared_positives(), grouped)
    components = queries.components(shared=settings.split_by == "group")
    large = components.sizes() > max(part.largest(len(queries)) for part in slices)
    cut = settings.split_by == "group" and settings.large_components == "cut"
    units = queries.cut(components, large) if cut else components
    now = splits_of(queries, units, slices, settings)
    anew = queries.components_of_held_out(now) if cut or settings.split_by != "group" else None
    of_large = {"components": int(large.sum()), "queries": int(components.sizes()[large].sum())}
    of_large["cut"] = settings.split_by != "group" or cut
    work.splitting |= facts(queries, units, now, settings, of_large)
    work.data = replace(work.data, queries=_with_components(work.data.queries, queries, components, anew))
    moved = now > SPLIT_CODES[TRAIN]
    ids = rows_of(work.data.queries.select("query_id"), pl.Series(queries.rows[moved]))["query_id"]
    names = {code: split for split, code in SPLIT_CODES.items()}
    work.reassign(pl.DataFrame([ids, pl.Series("split", [names[code] for code in now[moved]], pl.String)]))


def _train(queries: pl.DataFrame) -> pl.DataFrame:
    """row, text_key and, where there is one, time of the training queries that people wrote."""
    columns = [name for name in ("text_key", "time", "fields") if name in queries.columns]
    rows = queries.lazy().with_row_index("row").filter(pl.col("split") == TRAIN).select("row", *columns)
    return of_people(rows.collect(engine="streaming")).drop("fields", strict=False)


def _with_components(
    table: pl.DataFrame, queries: Queries, components: Components, anew: pl.DataFrame | None
) -> pl.DataFrame:
    """The table of queries, those without a group in that of their component; what is not cut, in one of its own.

    Args:
        table: of all queries.
        queries: those that are cut.
        components: theirs.
        anew: row and again, the name of another component of some of them; None: of none.
    """

    def groups_of(start: int, length: int) -> pl.DataFrame:
        first, last = np.searchsorted(queries.rows, [start, start + length])
        names = components.names(components.labels[first:last])
        named = pl.DataFrame({"row": queries.rows[first:last], "component": names})
        if anew is not None:
            named = named.join(anew, on="row", how="left").select("row", component=pl.coalesce("again", "component"))
        rows = table.select("query_id", "group").slice(start, length).with_row_index("row", start)
        rows = rows.join(named, on="row", how="left", maintain_order="left")
        # the first character only says what names it
        return rows.select(group=pl.coalesce("group", pl.col("component").str.slice(1), "query_id"))

    return with_column(table, in_slices(table.height, groups_of)["group"])


def _one_split_each(work: WorkingSet, leaks: Leaks) -> set[str]:
    """Drop judgements of a split that is not their query's, and give the queries that had some.

    A query of a BEIR folder may be judged in several splits; it belongs to the last of them, where it is held out.
    """
    splits, qrels = work.data.queries["split"].unique(), work.data.qrels.lazy()
    work.counts["judged_pairs_of_other_splits"] = 0
    if len(splits) == 1 and (work.data.qrels["split"] == splits[0]).all():
        # nothing is joined where there is only one split
        return set()
    split_of_query = work.data.queries.lazy().select("query_id", query_split="split")
    other = qrels.join(split_of_query, on="query_id").filter(
        (pl.col("split") != pl.col("query_split")) & (pl.col("split") != MASKED)
    )
    other = other.collect(engine="streaming")
    for split, count in other.unique(["query_id", "split"]).group_by("split").len().iter_rows():
        leaks.counts.setdefault(split, {})["judged_in_several_splits"] = count
    keys = ["query_id", "passage_id", "split"]
    work.counts["judged_pairs_of_other_splits"] = other.height
    work.data = replace(work.data, qrels=work.data.qrels.join(other, on=keys, how="anti", maintain_order="left"))
    return set(other["query_id"])


def _limit(work: WorkingSet, settings: DataSettings) -> None:
    limits = [
        ("test", ["split"], settings.max_test_queries),
        ("dev", ["split"], settings.max_dev_queries),
        ("train", ["split", "source"], settings.max_examples_per_source),
    ]
    for split, within, most in limits:
        queries = work.data.queries.lazy().filter(pl.col("split") == split)
        large = queries.group_by(within).len().filter(pl.col("len") > most).select(within).collect(engine="streaming")
        many = queries.select("query_id", "text_key", *within).join(large.lazy(), on=within, how="semi")
        many = many.collect(engine="streaming") if not large.is_empty() else many.clear().collect()
        drawn = many.with_columns(lots(settings.seed, key_ids(many["text_key"]))).sort("lot", "query_id")
        excess = drawn.filter(pl.int_range(1, pl.len() + 1).over(within) > most)
        work.leave_out(excess, f"{split}_queries_over_the_limit")


def _check(work: WorkingSet, leaks: Leaks, settings: DataSettings) -> None:
    splits = set(work.data.queries["split"].unique())
    if "train" not in splits:
        if leaks.total("train"):
            raise InputError(
                f"no training query is left: all leak into dev or test ({describe(leaks)}); name other eval_data, or "
                "set leak_check to query if train and test share passages on purpose"
            )
        raise InputError(
            "no training query in train_data: name rows with query and pos, a BEIR folder with qrels/train.tsv, or "
            "python-source:stdlib"
        )
    if "test" not in splits:
        raise InputError(f"no test query: {_why_no_test(work, settings)}")


def _why_no_test(work: WorkingSet, settings: DataSettings) -> str:
    if not settings.test_share:
        return "test_share is 0 and the input has no test split; name eval_data, or raise it"
    if trained := work.splitting.get("earlier", {}).get(TRAIN):
        return f"champions of this model were trained on {trained:,} of the queries; bring new ones, or name eval_data"
    return (
        "all queries hang together by shared passages, or there are too few; name eval_data, or set large_components "
        "to cut"
    )
