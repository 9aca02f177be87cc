"""Which queries are held out as dev and test, and that training has seen nothing of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from sharpen.data.dataset import with_groups
from sharpen.data.generated import of_people
from sharpen.data.preparation.data_plan import DataPlan
from sharpen.data.preparation.settings import DataSettings
from sharpen.data.preparation.splits.assignment import TRAIN, Slice, assign, lots
from sharpen.data.preparation.splits.components import add_units, components_of, cut_large
from sharpen.data.preparation.splits.earlier import earlier_splits, join_earlier
from sharpen.data.preparation.splits.leaks import HELD_OUT, Leaks, describe, find_leaks, leak_rules, refuse
from sharpen.data.preparation.splits.selection import Selection
from sharpen.data.preparation.working_set import WorkingSet
from sharpen.data.relevance import MASKED
from sharpen.data.text import key_ids
from sharpen.data.window import Window
from sharpen.errors import InputError


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
    work.filter(work.data.queries.join(work.usable, on="query_id", how="semi"), "queries_without_positive")
    work.brought_splits = set(work.data.queries["split"])
    selection = Selection.of(work, plan, windows or {})
    _cut(work, groups, settings, plan, selection)
    work.data = replace(work.data, queries=with_groups(work.data.queries))
    find_leaks(work.data.queries, work.data.qrels, leaks, leak_rules(settings, work.brought_splits, groups))
    if settings.on_leak == "fail":
        refuse(leaks, work.data.queries, in_several_splits)
    work.filter(work.data.queries.filter(~pl.col("query_id").is_in(list(leaks.query_ids))), "leaking_queries")
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
    columns = [name for name in ("query_id", "text_key", "time", "fields") if name in work.data.queries.columns]
    train = of_people(work.data.queries.filter(pl.col("split") == TRAIN).select(columns))
    if train.is_empty() or not slices:
        return
    earlier = earlier_splits(train, plan if settings.freeze_splits else replace(plan, held_out=""))
    earlier = earlier.filter(pl.col("earlier").is_in([TRAIN, *(part.split for part in slices)]))
    held_out = earlier.filter(pl.col("earlier") != TRAIN)
    selection.drop_held_out(work, held_out)
    grouped = groups.clear() if settings.split_groups else groups
    queries = train.join(selection.older, on="query_id", how="anti", maintain_order="left")
    if queries.is_empty():
        return
    units = add_units(queries, work.positives, grouped, settings.split_by)
    largest = max(part.largest(units.height) for part in slices)
    large = units.filter(pl.len().over("unit") > largest)
    cut = settings.split_by == "group" and settings.large_components == "cut"
    if cut:
        units = cut_large(units, grouped, largest)
    units = units.join(earlier, on="query_id", how="left", maintain_order="left")
    split_of = _splits_of_units(units, slices, settings)
    moved = units.join(split_of, on="unit", how="left", maintain_order="left").select(
        "query_id", split=pl.coalesce("earlier", "drawn").fill_null(TRAIN)
    )
    named = units.with_columns(moved["split"].alias("now"))
    named = _independent_groups(named, work.positives, grouped) if cut or settings.split_by != "group" else named
    # what is never split is the group of queries that bring none; the first character only says what names it
    component = named.select("query_id", component=pl.col("component").str.slice(1))
    ids = work.data.queries.select("query_id")
    if not ids.equals(component.select("query_id")):
        component = ids.join(component, on="query_id", how="left", maintain_order="left")
    group = pl.coalesce("group", pl.lit(component["component"])).alias("group")
    work.data = replace(work.data, queries=work.data.queries.with_columns(group))
    work.reassign(moved.filter(pl.col("split") != TRAIN))
    work.splitting |= _facts(named, settings, large)


def _splits_of_units(units: pl.DataFrame, slices: list[Slice], settings: DataSettings) -> pl.DataFrame:
    """unit and drawn, the split of its queries that no earlier run knows; of units that are held out or joined."""
    newest = pl.col("time").max().to_physical() if "time" in units.columns else pl.lit(None, dtype=pl.Int64)
    table = units.group_by("unit").agg(
        size=pl.len(),
        new=pl.col("earlier").is_null().sum(),
        newest=newest,
        **{split: (pl.col("earlier") == split).sum() for split in (TRAIN, *HELD_OUT)},
    )
    fixed = dict(units.drop_nulls("earlier").group_by("earlier").len().iter_rows())
    joined = join_earlier(table, slices, fixed)
    for unit, new in table.filter(pl.col("unit").is_in(list(joined))).select("unit", "new").iter_rows():
        fixed[joined[unit]] = fixed.get(joined[unit], 0) + new
    free = table.filter(pl.col("new") == pl.col("size"))
    by_time = settings.split_by == "time"
    if by_time and table["newest"].null_count() == table.height:
        raise InputError(
            "data.split_by is time, but no training query has a time; name the column (columns: {...: time}) or "
            "split by group"
        )
    drawn = joined | assign(free, slices, settings.seed, fixed=fixed, by_time=by_time)
    schema = {"unit": pl.String, "drawn": pl.String}
    return pl.DataFrame({"unit": list(drawn), "drawn": list(drawn.values())}, schema=schema)


def _independent_groups(named: pl.DataFrame, positives: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """The queries, the component of the held-out ones made anew of those in the same split.

    What was cut hangs together with train. Queries of one split that share a passage are no independent evidence.
    """
    parts = [named.filter(~pl.col("now").is_in(HELD_OUT))]
    for split in HELD_OUT:
        queries = named.filter(pl.col("now") == split)
        if not queries.is_empty():
            parts.append(queries.with_columns(components_of(queries, positives, groups).alias("component")))
    return pl.concat(parts)


def _facts(named: pl.DataFrame, settings: DataSettings, large: pl.DataFrame) -> dict[str, object]:
    """How the splits came about, for `stats.json`.

    Args:
        named: query_id, unit, earlier (null: new), now (its split), and time where there is one.
        settings: how splits are cut.
        large: the queries of components that no split takes whole, with their component.
    """
    from_earlier = named.drop_nulls("earlier").group_by("earlier").len()
    new = named.select("earlier", "now").filter(pl.col("earlier").is_null()).group_by("now").len()
    facts: dict[str, object] = {
        "split_by": settings.split_by,
        "earlier": dict(from_earlier.sort("earlier").iter_rows()),
        "new": dict(new.sort("now").iter_rows()),
        "large_components": {
            "components": large["component"].n_unique(),
            "queries": large.height,
            "cut": settings.split_by != "group" or settings.large_components == "cut",
        },
    }
    if settings.split_by == "time":
        facts |= {"queries_without_time": named["time"].null_count(), "first_time": {}, "ties": {}}
        newest = named.filter(pl.col("earlier").is_null()).with_columns(newest=pl.col("time").max().over("unit"))
        for split in ("test", "dev"):
            first = newest.filter(pl.col("now") == split)["newest"].min()
            if first is not None:
                equal = newest.filter(pl.col("newest") == first).group_by("now").len()
                facts["first_time"][split] = first.isoformat()  # type: ignore[index,union-attr]
                facts["ties"][split] = equal["len"].sum() if equal.height > 1 else 0  # type: ignore[index]
    return facts


def _one_split_each(work: WorkingSet, leaks: Leaks) -> set[str]:
    """Drop judgements of a split that is not their query's, and give the queries that had some.

    A query of a BEIR folder may be judged in several splits; it belongs to the last of them, where it is held out.
    """
    split_of_query = work.data.queries.select("query_id", query_split="split")
    splits, qrels = work.data.queries["split"].unique(), work.data.qrels
    if len(splits) == 1:
        # nothing is joined with the pairs of the only split, which may be all
        qrels = qrels.filter(pl.col("split") != splits[0])
    other = qrels.join(split_of_query, on="query_id").filter(
        (pl.col("split") != pl.col("query_split")) & (pl.col("split") != MASKED)
    )
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
        queries = work.data.queries
        many = queries.select("query_id", "text_key", *within).filter(pl.col("split") == split)
        many = many.filter(pl.len().over(within) > most)
        drawn = many.with_columns(lots(settings.seed, key_ids(many["text_key"]))).sort("lot", "query_id")
        excess = drawn.filter(pl.int_range(1, pl.len() + 1).over(within) > most)
        work.filter(queries.join(excess, on="query_id", how="anti"), f"{split}_queries_over_the_limit")


def _check(work: WorkingSet, leaks: Leaks, settings: DataSettings) -> None:
    splits = set(work.data.queries["split"])
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
