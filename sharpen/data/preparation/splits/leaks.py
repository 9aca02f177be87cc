"""Training queries that would make a test too easy: the same query, or a passage that is also a test answer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import polars as pl

from sharpen.data.preparation.settings import DataSettings
from sharpen.data.relevance import MASKED, relevant
from sharpen.errors import InputError

SHOWN = 3
HELD_OUT = ("dev", "test")
PAIRS = {"query_id": pl.String, "passage_id": pl.String}


@dataclass
class Leaks:
    """What training must not have seen.

    Attributes:
        query_ids: queries to remove.
        counts: split -> reason (the first that applies) -> queries to remove.
        shared: split -> queries that share a positive with a held-out split where that is no leak.
        masked: query_id, passage_id of positives that training queries share with a held-out split, of queries that
            have others to be trained on.
    """

    query_ids: set[str] = field(default_factory=set)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)
    masked: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=PAIRS))

    def total(self, split: str) -> int:
        """Leaking queries of one split."""
        return sum(self.counts.get(split, {}).values())


@dataclass(frozen=True)
class LeakRules:
    """What counts as a leak into dev or test besides the same query, and what is done about it.

    Attributes:
        passages: held-out splits of which no other query may share a positive passage; with others that is counted.
        groups: text_key, group: no other query may be of a group of a held-out query of the splits `grouped`.
        grouped: these splits.
        mask: whether a training query that shares a positive is trained on with its others, instead of left out.
    """

    passages: Collection[str]
    groups: pl.DataFrame
    grouped: Collection[str]
    mask: bool = False


def leak_rules(settings: DataSettings, brought: Collection[str], groups: pl.DataFrame) -> LeakRules:
    """The rules by the `settings`, for data of which the input brings the splits `brought`.

    By default, a shared passage is a leak into a split that is cut by group or hash. In a split that the input brings,
    one passage may answer queries of several splits, as in most benchmarks (257 of the 809 training queries of SciFact
    share one with test), and new queries about old passages are what a split by time is for.
    """
    cut = [split for split in HELD_OUT if split not in brought]
    passages = {
        "query": [],
        "query_and_passage": list(HELD_OUT),
        "auto": [] if settings.split_by == "time" else cut,
    }[settings.leak_check]
    return LeakRules(passages, groups, [] if settings.split_groups else cut, settings.on_leak == "mask")


def find_leaks(queries: pl.DataFrame, qrels: pl.DataFrame, leaks: Leaks, rules: LeakRules) -> None:
    """Add to `leaks` the queries of dev that leak into test, and those of train that leak into test or the rest of dev.

    Args:
        queries: query_id, text, text_key, split.
        qrels: query_id, passage_id, grade, split.
        leaks: what was found before.
        rules: what counts besides the same query.
    """
    positives = relevant(qrels.lazy()).filter(pl.col("split") != MASKED).select("query_id", "passage_id")
    texts = queries.lazy().select("query_id", "text", "text_key", "split")
    for split, held_out in (("dev", ["test"]), ("train", ["test", "dev"])):
        others = _result(
            texts.filter(pl.col("split").is_in(held_out) & ~pl.col("query_id").is_in(list(leaks.query_ids)))
        )
        suspects = texts.filter(pl.col("split") == split)
        shared = _sharing(suspects, positives, others)
        strict = others.filter(pl.col("split").is_in(list(rules.passages)))
        sharing = shared if strict.height == others.height else _sharing(suspects, positives, strict)
        if split == "train" and rules.mask:
            sharing = _mask(sharing, positives, leaks)
        of_groups = others.filter(pl.col("split").is_in(list(rules.grouped)))
        reasons = {
            "same_text": suspects.join(others.lazy(), on="text", how="semi"),
            "same_normalised_text": suspects.join(others.lazy(), on="text_key", how="semi"),
            "shared_positive": sharing.lazy(),
            "same_group": suspects.join(_of_groups(of_groups, rules.groups).lazy(), on="text_key", how="semi"),
        }
        counts = leaks.counts.setdefault(split, {})
        for reason, found in reasons.items():
            new = set(_result(found.select("query_id"))["query_id"]) - leaks.query_ids
            counts[reason] = len(new)
            leaks.query_ids |= new
        unmasked = shared.join(leaks.masked, on=["query_id", "passage_id"], how="anti")
        leaks.shared[split] = len(set(unmasked["query_id"]) - leaks.query_ids)
    leaks.masked = leaks.masked.filter(~pl.col("query_id").is_in(list(leaks.query_ids)))


def _result(query: pl.LazyFrame) -> pl.DataFrame:
    """The result, which is small; what it is made of is read piece by piece."""
    return query.collect(engine="streaming")


def _sharing(suspects: pl.LazyFrame, positives: pl.LazyFrame, others: pl.DataFrame) -> pl.DataFrame:
    """query_id and passage_id of the suspects' positives that are a positive of one of the others."""
    answers = _result(positives.join(others.lazy(), on="query_id", how="semi"))
    pairs = _result(positives.join(answers.lazy(), on="passage_id", how="semi"))
    return pairs.join(_result(suspects.join(pairs.lazy(), on="query_id", how="semi")), on="query_id", how="semi")


def _mask(sharing: pl.DataFrame, positives: pl.LazyFrame, leaks: Leaks) -> pl.DataFrame:
    """The pairs of queries that have no other positive; those of all others become `leaks.masked`."""
    remaining = _result(positives.join(sharing.lazy(), on="query_id", how="semi"))
    remaining = remaining.join(sharing, on=["query_id", "passage_id"], how="anti")
    leaks.masked = sharing.join(remaining, on="query_id", how="semi")
    return sharing.join(remaining, on="query_id", how="anti")


def _of_groups(others: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """text_key, group of all queries of a group of one of the others."""
    return groups.join(groups.join(others, on="text_key", how="semi"), on="group", how="semi")


def refuse(leaks: Leaks, queries: pl.DataFrame, in_several_splits: set[str]) -> None:
    """Raise InputError when there are leaks; `in_several_splits` are queries that were judged in several splits."""
    leaking = in_several_splits | leaks.query_ids
    if not leaking:
        return
    examples = queries.filter(pl.col("query_id").is_in(list(leaking))).sort("query_id").head(SHOWN)
    shown = "; ".join(f"{query_id} {text[:60]!r}" for query_id, text in examples.select("query_id", "text").iter_rows())
    raise InputError(
        f"{len(leaking):,} training or dev queries leak into dev or test ({describe(leaks)}), for example {shown}; "
        "remove them from the input, or set on_leak to drop or mask"
    )


def describe(leaks: Leaks) -> str:
    """Counts in words, for example ``train: 3 same_text, 1 shared_positive``."""
    parts = []
    for split, counts in leaks.counts.items():
        if found := ", ".join(f"{count:,} {reason}" for reason, count in counts.items() if count):
            parts.append(f"{split}: {found}")
    return "; ".join(parts)
