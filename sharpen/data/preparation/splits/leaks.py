"""Training queries that would make a test too easy: the same query, or a passage that is also a test answer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import polars as pl

from sharpen.data.relevance import relevant
from sharpen.errors import InputError

SHOWN = 3
HELD_OUT = ("dev", "test")


@dataclass
class Leaks:
    """What training must not have seen.

    Attributes:
        query_ids: queries to remove.
        counts: split -> reason (the first that applies) -> queries to remove.
        shared: split -> queries that share a positive with a held-out split where that is no leak.
    """

    query_ids: set[str] = field(default_factory=set)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)

    def total(self, split: str) -> int:
        """Leaking queries of one split."""
        return sum(self.counts.get(split, {}).values())


def splits_without_passages_of_others(leak_check: str, brought: Collection[str]) -> set[str]:
    """The held-out splits of which no other query may share a positive passage.

    Args:
        leak_check: the setting.
        brought: splits that the input brings. There one passage may answer queries of several splits, as in most
            benchmarks: 257 of the 809 training queries of SciFact share one with test.
    """
    if leak_check == "query":
        return set()
    return {split for split in HELD_OUT if leak_check != "auto" or split not in brought}


def find_leaks(queries: pl.DataFrame, qrels: pl.DataFrame, leaks: Leaks, *, passages: Collection[str]) -> None:
    """Add to `leaks` the queries of dev that leak into test, and those of train that leak into test or the rest of dev.

    Args:
        queries: query_id, text, text_key, split.
        qrels: query_id, passage_id, grade.
        passages: held-out splits with which a shared positive passage is a leak, too; with others it is counted.
    """
    positives = relevant(qrels)
    for split, held_out in (("dev", ["test"]), ("train", ["test", "dev"])):
        others = queries.filter(pl.col("split").is_in(held_out) & ~pl.col("query_id").is_in(list(leaks.query_ids)))
        suspects = queries.filter(pl.col("split") == split)
        reasons = {
            "same_text": suspects.join(others, on="text", how="semi"),
            "same_normalised_text": suspects.join(others, on="text_key", how="semi"),
            "shared_positive": _sharing(suspects, positives, others.filter(pl.col("split").is_in(list(passages)))),
        }
        counts = leaks.counts.setdefault(split, {})
        for reason, found in reasons.items():
            new = set(found["query_id"]) - leaks.query_ids
            counts[reason] = len(new)
            leaks.query_ids |= new
        leaks.shared[split] = len(set(_sharing(suspects, positives, others)["query_id"]) - leaks.query_ids)


def _sharing(suspects: pl.DataFrame, positives: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """The suspects with a positive passage that is a positive of one of the others."""
    answers = positives.join(others, on="query_id", how="semi")
    return suspects.join(positives.join(answers, on="passage_id", how="semi"), on="query_id", how="semi")


def refuse(leaks: Leaks, queries: pl.DataFrame, in_several_splits: set[str]) -> None:
    """Raise InputError when there are leaks; `in_several_splits` are queries that were judged in several splits."""
    leaking = in_several_splits | leaks.query_ids
    if not leaking:
        return
    examples = queries.filter(pl.col("query_id").is_in(list(leaking))).sort("query_id").head(SHOWN)
    shown = "; ".join(f"{query_id} {text[:60]!r}" for query_id, text in examples.select("query_id", "text").iter_rows())
    raise InputError(
        f"{len(leaking):,} training or dev queries leak into dev or test ({describe(leaks)}), for example {shown}; "
        "remove them from the input, or set on_leak to drop"
    )


def describe(leaks: Leaks) -> str:
    """Counts in words, for example ``train: 3 same_text, 1 shared_positive``."""
    parts = []
    for split, counts in leaks.counts.items():
        if found := ", ".join(f"{count:,} {reason}" for reason, count in counts.items() if count):
            parts.append(f"{split}: {found}")
    return "; ".join(parts)
