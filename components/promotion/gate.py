"""Is a model good enough to be promoted? A pure function of its evaluation and the settings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from components.core.errors import InputError
from components.promotion.measured import BASE, CHAMPION, Measured, Reference
from components.promotion.settings import PromotionSettings

PROMOTE, REJECT = "promote", "reject"

# metrics.json and comparison.json hold the same means, written by the same program
SAME = 1e-6
# 0.58 - 0.50 is a little less than 0.08 in floating point
ROUNDING = 1e-9


@dataclass(frozen=True)
class Rule:
    """One rule of the gate: what it is, whether it holds, and its figures in words."""

    name: str
    holds: bool
    text: str


@dataclass(frozen=True)
class Decision:
    """The gate's answer.

    Attributes:
        verdict: ``promote`` or ``reject``.
        reasons: one line a rule: those that failed, or all that held.
        facts: the reference and every rule, for the provenance of the model.
        figures: the numbers that it rests on: ``promoted`` (0 or 1), ``gain``, ``gain_ci_low``, ``gain_ci_high``,
            ``queries``.
    """

    verdict: Literal["promote", "reject"]
    reasons: list[str]
    facts: dict[str, Any]
    figures: dict[str, float]

    @property
    def promoted(self) -> bool:
        """True for ``promote``."""
        return self.verdict == PROMOTE


def decide(measured: Measured, settings: PromotionSettings) -> Decision:
    """Compare a candidate with the champion, or with the base model while there is no champion.

    The candidate is promoted when all of these hold, each about means over the same test queries:

    - queries: there are at least `min_queries`;
    - gain: candidate minus reference of `metric` is at least `min_gain`;
    - significance, if demanded: the lower bound of that difference's confidence interval is above 0;
    - regression: no metric of `max_regression` falls below the reference's by more than its budget.

    A candidate with the champion's own weights passes: promoting it again changes nothing.

    Raises:
        InputError: the evaluation holds no comparison or lacks a metric, or its parts do not belong together.
    """
    name, reference = _reference(measured)
    _check_same_data(measured, name, reference)
    _check_figures(measured, name, reference, settings)
    own = measured.facts.get("model_hash")
    if name == CHAMPION and own and own == reference.facts.get("model_hash"):
        rules = [Rule("same model", True, "the candidate has the champion's weights; it is the champion already")]
    else:
        rules = list(_rules(measured, name, reference, settings))
    holds = all(rule.holds for rule in rules)
    main = reference.metrics[settings.metric]
    return Decision(
        verdict=PROMOTE if holds else REJECT,
        reasons=[rule.text for rule in rules if rule.holds == holds],
        facts={
            "against": name,
            "reference": reference.model,
            "metric": settings.metric,
            "rules": {rule.name: {"holds": rule.holds, "text": rule.text} for rule in rules},
        },
        figures={
            "promoted": float(holds),
            "gain": main["difference"],
            "gain_ci_low": main["ci_low"],
            "gain_ci_high": main["ci_high"],
            "queries": float(main["queries"]),
        },
    )


def _reference(measured: Measured) -> tuple[str, Reference]:
    for name in (CHAMPION, BASE):
        if name in measured.against:
            return name, measured.against[name]
    raise InputError(
        f"{measured.address}: the evaluation compares with nothing; evaluate the model again with --base or --champion"
    )


def _check_same_data(measured: Measured, name: str, reference: Reference) -> None:
    """Figures of two models mean something together only when both come from the same data and split."""
    for fact in ("data_fingerprint", "split"):
        ours, theirs = measured.facts.get(fact), reference.facts.get(fact)
        if ours != theirs:
            raise InputError(
                f"{measured.address}: candidate and {name} were measured with another {fact.replace('_', ' ')} "
                f"({_short(ours)} and {_short(theirs)}); evaluate both on the same data"
            )


def _check_figures(measured: Measured, name: str, reference: Reference, settings: PromotionSettings) -> None:
    faults = []
    for metric in settings.needed_metrics():
        compared = reference.metrics.get(metric)
        if compared is None or metric not in measured.metrics:
            known = ", ".join(sorted(set(reference.metrics) & set(measured.metrics)))
            faults.append(f"{measured.address}: {metric} was not measured against the {name}; there are: {known}")
        elif not all(math.isfinite(compared[key]) for key in ("reference", "candidate", "difference", "ci_low")):
            faults.append(f"{measured.address}: {metric} against the {name} is not a number")
        elif abs(compared["candidate"] - measured.metrics[metric]) > SAME:
            faults.append(
                f"{measured.address}: {metric} is {measured.metrics[metric]:.6f} in metrics.json and "
                f"{compared['candidate']:.6f} in comparison.json; they are of two evaluations"
            )
    if faults:
        raise InputError(faults)


def _rules(measured: Measured, name: str, reference: Reference, settings: PromotionSettings) -> Iterator[Rule]:
    main = reference.metrics[settings.metric]
    queries, gain, low = int(main["queries"]), main["difference"], main["ci_low"]
    enough = queries >= settings.min_queries
    yield Rule("queries", enough, f"{queries} test queries, {settings.min_queries} are the fewest allowed")
    holds = gain >= settings.min_gain - ROUNDING
    figures = f"{settings.metric} {main['reference']:.4f} ({name}) -> {main['candidate']:.4f}"
    sign = "at least" if holds else "less than"
    yield Rule("gain", holds, f"{figures}: gain {gain:+.4f}, {sign} the {settings.min_gain:+.4f} demanded")
    if settings.require_significance:
        holds = low > 0
        level = f"{100 * measured.confidence_level:g} %"
        said = "above 0" if holds else "not above 0"
        yield Rule(
            "significance", holds, f"{settings.metric}: lower bound of the gain's {level} interval {low:+.4f}, {said}"
        )
    for metric, budget in sorted(settings.max_regression.items()):
        change = reference.metrics[metric]["difference"]
        holds = change >= -budget - ROUNDING
        said = "within" if holds else "beyond"
        yield Rule(
            f"regression of {metric}", holds, f"{metric}: {change:+.4f}, {said} the allowed drop of {budget:.4f}"
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 16 else text[:12] + "…"
