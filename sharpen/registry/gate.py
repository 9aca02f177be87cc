"""Is a model good enough to be promoted? A pure function of its evaluation and the settings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sharpen.errors import InputError
from sharpen.registry.evaluation_summary import BASE, CHAMPION, EvaluationSummary, Reference
from sharpen.registry.settings import PromotionSettings
from sharpen.registry.terms import is_same_model, terms_of, terms_rules
from sharpen.reports.formatting import label

PROMOTE, REJECT, CANNOT_TELL = "promote", "reject", "cannot tell"

# metrics.json and comparison.json hold the same means, written by the same program
SAME = 1e-6
# 0.58 - 0.50 is a little less than 0.08 in floating point
ROUNDING = 1e-9
NEEDED = ("reference", "candidate", "difference", "ci_low", "ci_high", "p_value", "queries", "groups")
"""What the rules read of a metric's comparison."""


@dataclass(frozen=True)
class Rule:
    """One rule of the gate.

    Attributes:
        name: what it is.
        holds: whether it holds.
        text: its figures in words.
        evidence: whether it asks for enough test data, without which nothing can be told.
    """

    name: str
    holds: bool
    text: str
    evidence: bool = False


@dataclass(frozen=True)
class Decision:
    """The gate's answer.

    Attributes:
        verdict: ``promote``, ``reject``, or ``cannot tell``, which promotes nothing either.
        reasons: one line a rule: those that failed, or all that held.
        facts: the reference and every rule, for the provenance of the model.
        figures: the numbers that it rests on: ``promoted`` (0 or 1), ``gain``, ``gain_ci_low``, ``gain_ci_high``,
            ``p_value``, ``queries``, ``groups``.
    """

    verdict: Literal["promote", "reject", "cannot tell"]
    reasons: list[str]
    facts: dict[str, Any]
    figures: dict[str, float]

    @property
    def promoted(self) -> bool:
        """True for ``promote``."""
        return self.verdict == PROMOTE

    @property
    def outcome(self) -> str:
        """What a run does about it: ``promote`` or ``reject``."""
        return PROMOTE if self.promoted else REJECT


def decide(measured: EvaluationSummary, settings: PromotionSettings) -> Decision:
    """Compare a candidate with the champion, or with the base model while there is no champion.

    The candidate is promoted when all of these hold, each about means over the same test queries:

    - queries, groups: there are at least `min_queries`, from at least `min_groups`. Otherwise the verdict is that the
      gate cannot tell, unless `promote_when_undecided` leaves it to the other rules;
    - gain: candidate minus reference of `metric` is at least `min_gain`;
    - significance, if demanded: the lower bound of that difference's confidence interval is above 0;
    - randomisation test, if significance is demanded: its two-sided p is at most 1 - the interval's level. With a gain
      above 0 that is the one-sided test at half of it, 2.5 %, as the lower bound of a 95 % interval is;
    - regression: a drop of a metric of `max_regression` beyond its budget is ruled out: the lower bound of its
      difference is not below -budget (non-inferiority). Without significance, the difference itself is not;
    - terms: the champion is not replaced by what is worse on the terms by which it was chosen (`terms.terms_rules`).

    A candidate with the champion's own weights and settings passes: promoting it again changes nothing.

    Raises:
        InputError: the evaluation holds no comparison or lacks a metric, or its parts do not belong together.
    """
    name, reference = _reference(measured)
    _check_same_data(measured, name, reference)
    _check_figures(measured, name, reference, settings)
    terms = terms_of(measured.facts, settings)
    if name == CHAMPION and is_same_model(measured.facts, reference.facts):
        text = "the candidate has the champion's weights and settings; it is the champion already"
        rules = [Rule("same model", True, text)]
    else:
        unchanged = terms_rules(reference.terms, terms, reference.metrics, settings)
        rules = [*_rules(measured, name, reference, settings), *(Rule(*rule) for rule in unchanged)]
    counted = [rule for rule in rules if not (rule.evidence and settings.promote_when_undecided)]
    holds = all(rule.holds for rule in counted)
    undecided = [rule for rule in counted if rule.evidence and not rule.holds]
    verdict = PROMOTE if holds else CANNOT_TELL if undecided else REJECT
    shown = [rule.text for rule in counted if rule.holds == holds]
    main = reference.metrics[settings.metric]
    return Decision(
        verdict=verdict,
        reasons=[f"cannot tell: {undecided[0].text}", *shown[1:]] if undecided else shown,
        facts={
            "against": name,
            "reference": reference.model,
            "metric": settings.metric,
            "terms": terms,
            "usage": {"candidate": measured.facts.get("encoding"), name: reference.facts.get("encoding")},
            "rules": {rule.name: {"holds": rule.holds, "text": rule.text} for rule in rules},
        },
        figures={
            "promoted": float(holds),
            "gain": main["difference"],
            "gain_ci_low": main["ci_low"],
            "gain_ci_high": main["ci_high"],
            "p_value": main["p_value"],
            "queries": float(main["queries"]),
            "groups": float(main["groups"]),
        },
    )


def _reference(measured: EvaluationSummary) -> tuple[str, Reference]:
    for name in (CHAMPION, BASE):
        if name in measured.against:
            return name, measured.against[name]
    raise InputError(
        f"{measured.address}: the evaluation compares with nothing; evaluate the model again with --base or --champion"
    )


def _check_same_data(measured: EvaluationSummary, name: str, reference: Reference) -> None:
    """Figures of two models mean something together only when both come from the same data and split."""
    for fact in ("data_fingerprint", "split"):
        ours, theirs = measured.facts.get(fact), reference.facts.get(fact)
        if ours != theirs:
            raise InputError(
                f"{measured.address}: candidate and {name} were measured with another {fact.replace('_', ' ')} "
                f"({_short(ours)} and {_short(theirs)}); evaluate both on the same data"
            )


def _check_figures(measured: EvaluationSummary, name: str, reference: Reference, settings: PromotionSettings) -> None:
    faults = []
    for metric in settings.needed_metrics():
        compared = reference.metrics.get(metric)
        if compared is None or metric not in measured.metrics:
            known = ", ".join(sorted(set(reference.metrics) & set(measured.metrics)))
            faults.append(f"{measured.address}: {metric} was not measured against the {name}; there are: {known}")
        elif missing := [key for key in NEEDED if key not in compared]:
            faults.append(
                f"{measured.address}: {metric} against the {name} lacks {', '.join(missing)}: it was compared by an "
                "earlier version; evaluate the model again"
            )
        elif not all(math.isfinite(compared[key]) for key in NEEDED):
            faults.append(f"{measured.address}: {metric} against the {name} is not a number")
        elif abs(compared["candidate"] - measured.metrics[metric]) > SAME:
            faults.append(
                f"{measured.address}: {metric} is {measured.metrics[metric]:.6f} in metrics.json and "
                f"{compared['candidate']:.6f} in comparison.json; they are of two evaluations"
            )
    if faults:
        raise InputError(faults)


def _rules(measured: EvaluationSummary, name: str, reference: Reference, settings: PromotionSettings) -> Iterator[Rule]:
    main = reference.metrics[settings.metric]
    queries, gain, low = int(main["queries"]), main["difference"], main["ci_low"]
    groups = int(main["groups"])
    enough, some = queries >= settings.min_queries, groups >= settings.min_groups
    fewest = f"{settings.min_queries} are the fewest on which a decision may rest"
    yield Rule("queries", enough, f"{queries:,} test queries, {fewest}", evidence=True)
    fewest = f"{settings.min_groups} are the fewest on which a decision may rest"
    yield Rule("groups", some, f"test queries of {groups:,} groups, {fewest}", evidence=True)
    holds = gain >= settings.min_gain - ROUNDING
    metric = label(settings.metric)
    figures = f"{metric} {main['reference']:.4f} ({name}) -> {main['candidate']:.4f}"
    sign = "at least" if holds else "less than"
    yield Rule("gain", holds, f"{figures}: gain {gain:+.4f}, {sign} the {settings.min_gain:+.4f} demanded")
    level, share = f"{100 * measured.confidence_level:g} %", 1 - measured.confidence_level
    if settings.require_significance:
        holds = low > 0
        wording = "above 0" if holds else "not above 0"
        yield Rule(
            "significance",
            holds,
            f"{metric}: lower bound of the gain's {level} interval {low:+.4f}, {wording}",
        )
        p = main["p_value"]
        holds = p <= share + ROUNDING
        wording = "at most" if holds else "above"
        text = f"{metric}: p of the paired randomisation test {p:.4f}, {wording} {share:.3g}"
        yield Rule("randomisation test", holds, text)
    yield from _regressions(reference, settings, level)


def _regressions(reference: Reference, settings: PromotionSettings, level: str) -> Iterator[Rule]:
    for metric, budget in sorted(settings.max_regression.items()):
        entry = reference.metrics[metric]
        change, low = entry["difference"], entry["ci_low"]
        holds = (low if settings.require_significance else change) >= -budget - ROUNDING
        text = f"{label(metric)}: {change:+.4f}"
        if settings.require_significance:
            wording = "is ruled out" if holds else "is not ruled out"
            text += f", lower bound of the {level} interval {low:+.4f}: a drop beyond {budget:.4f} {wording}"
        else:
            text += f", {'within' if holds else 'beyond'} the allowed drop of {budget:.4f}"
        yield Rule(f"regression of {label(metric)}", holds, text)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 16 else text[:12] + "…"
