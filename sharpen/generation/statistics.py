"""Figures of a generation: what was written, what was left out and why, how diverse the rest is, what it cost."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
import polars as pl

from sharpen.data.text import normalize
from sharpen.generation.filters.candidates import Candidate, good
from sharpen.generation.prompting.answers import Answer
from sharpen.generation.prompting.checks import REASONS
from sharpen.generation.settings import STYLES
from sharpen.language_model.ask import Answers
from sharpen.language_model.budget import Budget

OPENINGS_SHOWN = 12
REFUSALS_SHOWN = 5


def statistics(
    candidates: Sequence[Candidate], answers: Answers[Answer], budget: Budget, passages: pl.DataFrame
) -> dict:
    """What `report.json` says of the queries.

    Args:
        candidates: all that were written.
        answers: what came of the requests.
        budget: what was spent.
        passages: the table.

    Returns:
        JSON-ready: queries, styles, left_out, requests, cost, diversity, passages_with_queries.
    """
    accepted = good(candidates)
    faults = Counter(one.fault for one in candidates if one.fault)
    by_style = Counter(one.style for one in accepted)
    written = Counter(one.style for one in candidates)
    named = [style for style in STYLES if written[style]]
    return {
        "queries": {"written": len(candidates), "accepted": len(accepted)},
        "styles": {style: {"written": written[style], "accepted": by_style[style]} for style in named},
        "left_out": {reason: faults[reason] for reason in REASONS if faults[reason]},
        "passages_with_queries": len({row for one in accepted for row in one.rows}),
        "requests": {
            "made": answers.requests,
            "from_journal": answers.from_journal,
            "invalid_answers": answers.invalid,
            "refused": answers.refused,
            "not_made_for_the_budget": answers.open,
            "first_refusals": answers.refusals[:REFUSALS_SHOWN],
        },
        "cost": {
            "input_tokens": budget.input_tokens,
            "output_tokens": budget.output_tokens,
            "answers_with_estimated_tokens": budget.estimated,
            "money": round(budget.cost, 6),
        },
        "diversity": diversity(accepted, passages),
    }


def diversity(queries: Sequence[Candidate], passages: pl.DataFrame) -> dict[str, Any]:
    """How different queries are from each other and from their passages.

    Returns:
        distinct_1, distinct_2: different words, and pairs of neighbouring words, as a share of all (Li et al. 2016,
        arXiv 1510.03055); openings: the most frequent first words, with their share; words: length in words, median and
        95th percentile; words_from_passage: mean share of a query's words that stand in its passages.
    """
    if not queries:
        return {}
    words = [_words(one.text) for one in queries]
    titles, texts = passages["title"].to_list(), passages["text"].to_list()
    shares = [
        fmean(word in known for word in row)
        for row, one in zip(words, queries, strict=True)
        if row and (known := {word for p in one.rows for word in _words(f"{titles[p] or ''} {texts[p]}")})
    ]
    openings = Counter(row[0] for row in words if row)
    return {
        "distinct_1": _distinct(words, 1),
        "distinct_2": _distinct(words, 2),
        "openings": {word: round(n / len(queries), 4) for word, n in openings.most_common(OPENINGS_SHOWN)},
        "words": {f"p{p}": float(np.percentile([len(row) for row in words], p)) for p in (50, 95)},
        "words_from_passage": round(fmean(shares), 4) if shares else 0.0,
    }


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", normalize(text))


def _distinct(rows: Sequence[Sequence[str]], n: int) -> float:
    grams = [tuple(row[start : start + n]) for row in rows for start in range(len(row) - n + 1)]
    return round(len(set(grams)) / len(grams), 4) if grams else 0.0


def summary(report: dict[str, Any], output: str) -> list[str]:
    """What a user should know of the result, in a few lines."""
    queries, requests, cost = report["queries"], report["requests"], report["cost"]
    styles = ", ".join(f"{counts['accepted']:,} {style}" for style, counts in report["styles"].items())
    lines = [
        f"{queries['accepted']:,} of {queries['written']:,} queries accepted ({styles or 'none'}), for "
        f"{report['passages_with_queries']:,} of {report['passages']['passages']:,} passages"
    ]
    if report["left_out"]:
        reasons = ", ".join(f"{count:,} {REASONS[reason]}" for reason, count in report["left_out"].items())
        lines.append(f"left out: {reasons}")
    money = f", {cost['money']:,.4g} in money" if cost["money"] else ""
    lines.append(
        f"{requests['made']:,} requests now, {requests['from_journal']:,} answers from the journal; "
        f"{cost['input_tokens']:,} tokens of input, {cost['output_tokens']:,} of output{money}"
    )
    return [*lines, *notes(report), f"written to {output}"]


def notes(report: dict[str, Any]) -> list[str]:
    """What a user should look at, a line each."""
    requests, passages = report["requests"], report["passages"]
    lines = [f"note: {fault}" for fault in passages["unreadable"]]
    if count := requests["not_made_for_the_budget"]:
        lines.append(
            f"note: the budget is spent: {count:,} requests were not made; raise generation.max_tokens or max_cost and "
            "run again to go on"
        )
    if count := requests["invalid_answers"]:
        lines.append(f"note: {count:,} answers were no valid JSON of queries")
    if count := requests["refused"]:
        lines.append(f"note: the endpoint refused {count:,} requests, such as: {requests['first_refusals'][0]}")
    if count := report["cost"]["answers_with_estimated_tokens"]:
        lines.append(f"note: the endpoint did not count the tokens of {count:,} answers; theirs are estimated")
    if count := passages["speaking_to_a_model"]:
        lines.append(f"note: {count:,} passages seem to hold instructions for a language model; look at their queries")
    if not report["round_trip"]:
        lines.append("note: no base model, so nobody checked whether a query finds its passage")
    return lines
