"""Training queries that would make a test too easy: the same query, or a passage that is also a test answer."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from components.core.errors import InputError

SHOWN = 3


@dataclass
class Leaks:
    """Queries to remove, and how many for which reason (the first that applies): split -> reason -> queries."""

    query_ids: set[str] = field(default_factory=set)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)

    def total(self, split: str) -> int:
        """Leaking queries of one split."""
        return sum(self.counts.get(split, {}).values())


def find_leaks(queries: pl.DataFrame, qrels: pl.DataFrame, leaks: Leaks, *, passages: bool) -> None:
    """Add to `leaks` the queries of dev that leak into test, and those of train that leak into test or the rest of dev.

    Args:
        queries: query_id, text, text_key, split.
        qrels: query_id, passage_id, grade.
        passages: whether a shared positive passage is a leak, too.
    """
    for split, held_out in (("dev", ["test"]), ("train", ["test", "dev"])):
        kept = queries.filter(pl.col("split").is_in(held_out) & ~pl.col("query_id").is_in(list(leaks.query_ids)))
        suspects = queries.filter(pl.col("split") == split)
        reasons = {
            "same_text": suspects.join(kept, on="text", how="semi"),
            "same_normalised_text": suspects.join(kept, on="text_key", how="semi"),
        }
        if passages:
            positives = qrels.filter(pl.col("grade") > 0)
            answers = positives.join(kept, on="query_id", how="semi")
            reasons["shared_positive"] = suspects.join(
                positives.join(answers, on="passage_id", how="semi"), on="query_id", how="semi"
            )
        counts = leaks.counts.setdefault(split, {})
        for reason, found in reasons.items():
            new = set(found["query_id"]) - leaks.query_ids
            counts[reason] = len(new)
            leaks.query_ids |= new


def refuse(leaks: Leaks, queries: pl.DataFrame, judged_twice: set[str]) -> None:
    """Raise InputError when there are leaks; `judged_twice` are queries that were judged in several splits."""
    leaking = judged_twice | leaks.query_ids
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
