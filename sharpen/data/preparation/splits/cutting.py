"""Which queries are held out as dev and test, and that training has seen nothing of them."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from sharpen.data.dataset import with_groups
from sharpen.data.preparation.settings import DataSettings
from sharpen.data.preparation.splits.assignment import Slice, assign, components_of, lot
from sharpen.data.preparation.splits.leaks import Leaks, describe, find_leaks, refuse, splits_without_passages_of_others
from sharpen.data.preparation.working_set import WorkingSet
from sharpen.data.text import key_id
from sharpen.errors import InputError


def make_splits(work: WorkingSet, groups: pl.DataFrame, settings: DataSettings) -> Leaks:
    """Cut the dev and test splits that the input does not bring, remove leaks, apply the limits.

    Queries with neither a positive passage nor a label are left out first, since they can be neither trained on nor
    answered. Every
    query gets a group: its own, else the component by which splits are cut, else, where none are cut, its id.

    Args:
        work: the data; changed in place.
        groups: text_key, group of queries that belong together.
        settings: shares, limits and what to do about leaks.

    Raises:
        InputError: leaks where they are forbidden, or a train or test split without queries.
    """
    leaks = Leaks()
    in_several_splits = _one_split_each(work, leaks)
    work.filter(work.data.queries.join(work.usable, on="query_id", how="semi"), "queries_without_positive")
    work.brought_splits = set(work.data.queries["split"])
    _cut(work, groups, settings)
    work.data = replace(work.data, queries=with_groups(work.data.queries))
    passages = splits_without_passages_of_others(settings.leak_check, work.brought_splits)
    find_leaks(work.data.queries, work.data.qrels, leaks, passages=passages)
    if settings.on_leak == "fail":
        refuse(leaks, work.data.queries, in_several_splits)
    work.filter(work.data.queries.filter(~pl.col("query_id").is_in(list(leaks.query_ids))), "leaking_queries")
    _limit(work, settings)
    _check(work, leaks, settings)
    return leaks


def _cut(work: WorkingSet, groups: pl.DataFrame, settings: DataSettings) -> None:
    brought = work.brought_splits
    slices = [
        Slice("test", 0.0 if "test" in brought else settings.test_share, settings.max_test_queries),
        Slice("dev", 0.0 if "dev" in brought else settings.dev_share, settings.max_dev_queries),
    ]
    train = work.data.queries.filter(pl.col("split") == "train")
    if train.is_empty() or not any(part.share for part in slices):
        return
    named = train.select("query_id", component=components_of(train, work.positives, groups))
    # what is never split is the group of queries that bring none; the first character only says what names it
    component = named.select("query_id", own=pl.col("component").str.slice(1))
    queries = work.data.queries.join(component, on="query_id", how="left", maintain_order="left")
    work.data = replace(work.data, queries=queries.with_columns(group=pl.coalesce("group", "own")).drop("own"))
    sizes = dict(named.group_by("component").len().iter_rows())
    taken = assign(sizes, slices, settings.seed)
    split_of = pl.DataFrame({"component": list(taken), "split": list(taken.values())}, schema=["component", "split"])
    work.reassign(named.join(split_of.cast(pl.String), on="component").select("query_id", "split"))


def _one_split_each(work: WorkingSet, leaks: Leaks) -> set[str]:
    """Drop judgements of a split that is not their query's, and give the queries that had some.

    A query of a BEIR folder may be judged in several splits; it belongs to the last of them, where it is held out.
    """
    split_of_query = work.data.queries.select("query_id", query_split="split")
    other = work.data.qrels.join(split_of_query, on="query_id").filter(pl.col("split") != pl.col("query_split"))
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
        lots = pl.Series("lot", [lot(settings.seed, key_id(key)) for key in queries["text_key"]], dtype=pl.Float64)
        drawn = queries.with_columns(lots).sort("lot", "query_id")
        order = pl.int_range(1, pl.len() + 1).over(within)
        work.filter(drawn.filter((pl.col("split") != split) | (order <= most)), f"{split}_queries_over_the_limit")


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
        if not settings.test_share:
            raise InputError(
                "no test query: test_share is 0 and the input has no test split; name eval_data, or raise it"
            )
        raise InputError(
            "no test query: all queries hang together by shared passages, or there are too few; name eval_data"
        )
