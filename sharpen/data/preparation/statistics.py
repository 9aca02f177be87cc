"""`stats.json` and its summary for people: counts, lengths, and everything that was left out, with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
import polars as pl

from sharpen.data.dataset import SPLITS, DataSet
from sharpen.data.generated import generated_by_split, warning
from sharpen.data.preparation.sources import Sources
from sharpen.data.preparation.splits.leaks import Leaks
from sharpen.data.preparation.splits.notes import split_notes
from sharpen.data.preparation.working_set import WorkingSet
from sharpen.data.readers import ReadReport
from sharpen.data.readers.rows import SHOWN_FAULTS
from sharpen.data.relevance import relevant
from sharpen.hardware.sorted_keys import repeated

PERCENTILES = (5, 50, 95, 99)
NOTICES_SHOWN = 30
BINS = 20


def statistics(working_set: WorkingSet, sources: Sources, report: ReadReport, leaks: Leaks) -> dict[str, Any]:
    """All numbers about a prepared data set (`working_set`), its `sources`, what `report` counted, and the `leaks`.

    Returns:
        JSON-ready: fingerprint, passages, splits, inputs, queries_by_source, quarantine, dropped, leaks,
        shared_positives_kept, notices, words, query_words_by_split, characters.
    """
    data = working_set.data
    bad = sum(report.counts.values())
    return {
        "fingerprint": data.fingerprint(),
        "passages": data.corpus.height,
        "given_negatives": data.given_negatives.height,
        "teacher_scores": data.teacher_scores.height,
        "splits": {split: _split(data, split) for split in SPLITS},
        "inputs": sources.facts,
        "queries_by_source": {
            source: _by_split(data.queries.lazy().filter(pl.col("source") == source))
            for source in sorted(data.queries["source"].unique())
        },
        "quarantine": {
            "rows_read": report.rows,
            "rows": bad,
            "written": len(report.bad_rows),
            "share": bad / report.rows if report.rows else 0.0,
            "by_reason": dict(sorted(report.counts.items())),
            "first": [str(row) for row in report.bad_rows[:SHOWN_FAULTS]],
        },
        "dropped": dict(sorted({**sources.counts, **working_set.counts}.items())),
        "leaks": leaks.counts,
        "splitting": working_set.splitting,
        **({"generated": generated} if (generated := generated_by_split(data.queries)) else {}),
        "shared_positives_kept": leaks.shared,
        "notices": dict(sorted(report.notices.items())),
        "words": {"query": _words(data.queries.lazy()), "passage": _words(data.corpus.lazy())},
        "query_words_by_split": {split: _words_of_split(data.queries, split) for split in SPLITS},
        "characters": {"query": _characters(data.queries["text"]), "passage": _characters(data.corpus["text"])},
    }


def _split(data: DataSet, split: str) -> dict[str, int]:
    qrels = data.qrels.lazy().filter(pl.col("split") == split)
    positives = relevant(qrels).select(pl.col("query_id").hash()).collect(engine="streaming")["query_id"]
    return {
        "queries": int((data.queries["split"] == split).sum()),
        "pairs": int((data.qrels["split"] == split).sum()),
        "positive_pairs": len(positives),
        "queries_with_several_positives": len(repeated(positives)),
    }


def _by_split(queries: pl.LazyFrame) -> dict[str, int]:
    found = dict(queries.group_by("split").len().collect(engine="streaming").iter_rows())
    return {split: found.get(split, 0) for split in SPLITS}


def _words(texts: pl.LazyFrame) -> dict[str, float]:
    """Percentiles (nearest rank), mean and maximum of the number of words of column text, split at white space."""
    counted = texts.select(pl.col("text").str.count_matches(r"\S+")).collect(engine="streaming")["text"]
    lengths = np.sort(counted.to_numpy())
    lengths = lengths if lengths.size else np.zeros(1, np.int64)
    shown = {f"p{percent}": float(lengths[ceil(percent / 100 * len(lengths)) - 1]) for percent in PERCENTILES}
    return {**shown, "mean": round(float(lengths.mean()), 2), "max": float(lengths[-1])}


def _words_of_split(queries: pl.DataFrame, split: str) -> dict[str, float]:
    is_of_split = pl.col("split") == split
    return {
        "queries": queries.lazy().select(is_of_split.sum()).collect(engine="streaming").item(),
        **_words(queries.lazy().filter(is_of_split)),
    }


def _characters(texts: pl.Series) -> dict[str, list[int]]:
    """Histogram of the number of characters: n + 1 edges and n counts; the longest 1 % are counted in the last bin."""
    lengths = texts.str.len_chars().to_numpy()
    longest = int(np.percentile(lengths, 99)) if lengths.size else 0
    width = max(1, ceil(longest / BINS))
    counts, edges = np.histogram(np.minimum(lengths, width * BINS), bins=BINS, range=(0, width * BINS))
    return {"edges": [int(edge) for edge in edges], "counts": counts.tolist()}


def summary(stats: dict[str, Any], output: str) -> list[str]:
    """What a user should know of the result, in a few lines."""
    splits = ", ".join(f"{stats['splits'][split]['queries']:,} {split}" for split in SPLITS)
    words = stats["words"]
    return [
        f"data set: {stats['passages']:,} passages; queries: {splits}",
        f"words (median, 95 %): query {words['query']['p50']:.0f}, {words['query']['p95']:.0f}; "
        f"passage {words['passage']['p50']:.0f}, {words['passage']['p95']:.0f}",
        *notes(stats),
        f"written to {output}",
    ]


def notes(stats: Mapping[str, Any]) -> list[str]:
    """What was quarantined, left out, merged or changed, and what is missing, a line each."""
    lines = [
        warning(split, stats.get("generated", {}).get(split, 0), stats["splits"][split]["queries"])
        for split in ("test", "dev")
    ]
    lines = [line for line in lines if line]
    quarantine = stats["quarantine"]
    if quarantine["rows"]:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in quarantine["by_reason"].items())
        lines.append(
            f"QUARANTINED: {quarantine['rows']:,} of {quarantine['rows_read']:,} rows ({reasons}); "
            f"see quarantine.jsonl in the output"
        )
        lines += quarantine["first"]
    if dropped := ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in stats["dropped"].items() if count):
        lines.append(f"merged or left out: {dropped}")
    for split, reasons in stats["leaks"].items():
        if found := ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in reasons.items() if count):
            lines.append(f"leaks removed from {split}: {found}")
    for split, count in stats["shared_positives_kept"].items():
        if count:
            lines.append(
                f"note: {count:,} {split} queries share a positive passage with a held-out query and were kept; "
                "leak_check query_and_passage would remove them"
            )
    lines += split_notes(stats)
    lines += _notices(stats["notices"])
    if not stats["splits"]["dev"]["queries"]:
        lines.append("note: there is no dev query, so training cannot be watched on held-out data")
    return lines


def _notices(notices: dict[str, int]) -> list[str]:
    lines = [f"note: {what} ({count:,}x)" for what, count in list(notices.items())[:NOTICES_SHOWN]]
    if more := len(notices) - NOTICES_SHOWN:
        lines += [f"note: {more:,} more notices; see stats.json in the output"] if more > 0 else []
    return lines


def metrics(stats: dict[str, Any]) -> dict[str, float]:
    """The numbers that the pipeline's user interface shows."""
    flat = {"passages": stats["passages"], "quarantined_rows": stats["quarantine"]["rows"]}
    for split in SPLITS:
        flat |= {
            f"{split}_queries": stats["splits"][split]["queries"],
            f"{split}_pairs": stats["splits"][split]["pairs"],
        }
    flat["leaking_queries_removed"] = stats["dropped"]["leaking_queries"]
    return {name: float(value) for name, value in flat.items()}
