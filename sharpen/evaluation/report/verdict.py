"""The sentences at the top of the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sharpen.evaluation.settings import EvaluationSettings
from sharpen.reports.formatting import interval, label, number, p_text, signed
from sharpen.reports.gains import tone

NBSP = "\N{NO-BREAK SPACE}"
NAMES = {"base": "base model", "champion": "present champion"}


@dataclass(frozen=True)
class Verdict:
    """One sentence, its evidence, and its tone: ``up``, ``down`` or ``level``."""

    sentence: str
    evidence: str
    tone: str


def verdicts(
    metrics: Mapping[str, float],
    score_interval: tuple[float, float],
    comparison: Mapping[str, Any],
    queries: int,
    settings: EvaluationSettings,
) -> list[Verdict]:
    """One verdict per reference; without references, the score and its interval.

    Args:
        metrics: the candidate's means.
        score_interval: bootstrap interval of its primary metric.
        comparison: comparison.json, or empty.
        queries: number of queries.
        settings: primary metric and level.
    """
    metric, level = settings.primary_metric, f"{100 * settings.confidence_level:g}{NBSP}% interval"
    if not comparison:
        sentence = f"{label(metric)} is {number(metrics[metric])}."
        low, high = score_interval
        return [Verdict(sentence, f"{level} {number(low)} … {number(high)} · {count(queries)}", "level")]
    found = []
    for name, other in comparison["against"].items():
        result = other["metrics"][metric]
        evidence = (
            f"{signed(result['difference'])} · {level} {interval(result['ci_low'], result['ci_high'])} · "
            f"{count(queries, result['groups'])} · p{NBSP}{equals(p_text(result['p_value']))}"
        )
        found.append(Verdict(_sentence(label(metric), name, result), evidence, tone(result)))
    return found


def _sentence(metric: str, name: str, result: Mapping[str, Any]) -> str:
    who = f"the {NAMES[name]}" if name in NAMES else name
    before, after = number(result["reference"]), number(result["candidate"])
    went = tone(result)
    if went != "level" and name not in NAMES:
        return f"{metric} is {after}, {'above' if went == 'up' else 'below'} {who}'s {before}."
    if went == "up":
        return f"{metric} rose from {before} to {after} against {who}."
    if went == "down":
        return f"{metric} fell from {before} to {after} against {who}."
    if result["wins"] == result["losses"] == 0:
        return f"{metric} is {after}, the same as {who}'s on every query."
    return f"{metric} is {after}; no measurable difference from {who}'s {before}."


def count(queries: int, groups: int | None = None) -> str:
    """``377 queries``; where some of them belong together, ``377 queries in 29 groups``."""
    text = f"{queries:,}{NBSP}{'query' if queries == 1 else 'queries'}"
    if groups is None or groups == queries:
        return text
    return f"{text} in{NBSP}{groups:,}{NBSP}{'group' if groups == 1 else 'groups'}"


def equals(p: str) -> str:
    """``= .034`` or ``< .001``."""
    return p.replace(" ", NBSP) if p.startswith("<") else f"={NBSP}{p}"
