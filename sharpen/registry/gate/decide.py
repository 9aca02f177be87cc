"""The decision: every rule of the gate on one evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from sharpen.errors import InputError
from sharpen.registry.gate.evaluation_summary import BASE, CHAMPION, EvaluationSummary, Reference
from sharpen.registry.gate.regression import no_drop
from sharpen.registry.gate.rule import CANNOT_TELL, PROMOTE, REJECT, ROUNDING, Decision, Rule
from sharpen.registry.gate.serving import served_comparison, serving_rules, variant_of
from sharpen.registry.gate.slices import slice_rules
from sharpen.registry.gate.terms import is_same_model, terms_of, terms_rules
from sharpen.registry.settings import PromotionSettings
from sharpen.reports.formatting import label

# metrics.json and comparison.json hold the same means, written by the same program
SAME = 1e-6
NEEDED = ("reference", "candidate", "difference", "ci_low", "ci_high", "p_value", "queries", "groups")
"""What the rules read of a metric's comparison."""


def decide(measured: EvaluationSummary, settings: PromotionSettings) -> Decision:
    """Compare a candidate with the champion, or with the base model while there is no champion.

    The candidate is promoted when all of these hold, each about means over the same test queries; with `variant` about
    both models at that size and precision (the reference in full where it was not measured so):

    - queries, groups: there are at least `min_queries`, from at least `min_groups`. Otherwise the verdict is that the
      gate cannot tell, unless `promote_when_undecided` leaves it to the other rules;
    - gain: candidate minus reference of `metric` is at least `min_gain`;
    - significance, if demanded: the lower bound of that difference's confidence interval is above 0;
    - randomisation test, if significance is demanded: its two-sided p is at most 1 - the interval's level. With a gain
      above 0 that is the one-sided test at half of it, 2.5 %, as the lower bound of a 95 % interval is;
    - regression: a drop of a metric of `max_regression` beyond its budget is ruled out (`regression.no_drop`), on the
      guard set one of `max_guard_regression`;
    - slices: no part of the test queries becomes worse than `max_slice_regression` allows (`slices.slice_rules`);
    - latency and size are at most what is allowed (`serving.serving_rules`);
    - terms: the champion is not replaced by what is worse on the terms by which it was chosen (`terms.terms_rules`).

    A candidate with the champion's own weights and settings passes: promoting it again changes nothing.

    Raises:
        InputError: the evaluation holds no comparison or lacks what a rule asks for, or its parts do not belong
            together.
    """
    name, reference = _reference(measured)
    _check_same_data(measured, name, reference)
    measured, reference = _as_served(measured, name, reference, settings)
    _check_figures(measured, name, reference, settings)
    terms = terms_of(measured.facts, settings)
    if name == CHAMPION and is_same_model(measured.facts, reference.facts):
        text = "the candidate has the champion's weights and settings; it is the champion already"
        rules = [Rule("same model", True, text)]
    else:
        unchanged = terms_rules(reference.terms, terms, reference.metrics, settings)
        rules = [*_rules(measured, name, reference, settings), *(Rule(*rule) for rule in unchanged)]
    verdict, reasons = _verdict(rules, settings)
    main = reference.metrics[settings.metric]
    return Decision(
        verdict=verdict,
        reasons=[*reasons, *filter(None, [measured.facts.get("synthetic_evaluation")])],
        facts={
            "against": name,
            "reference": reference.model,
            "metric": settings.metric,
            "variant": settings.variant,
            "reference_size": reference.size,
            "terms": terms,
            "usage": {"candidate": measured.facts.get("encoding"), name: reference.facts.get("encoding")},
            "rules": {rule.name: rule.as_fact() for rule in rules},
        },
        figures={
            "promoted": float(verdict == PROMOTE),
            "gain": main["difference"],
            "gain_ci_low": main["ci_low"],
            "gain_ci_high": main["ci_high"],
            "p_value": main["p_value"],
            "queries": float(main["queries"]),
            "groups": float(main["groups"]),
        },
    )


def _verdict(
    rules: list[Rule], settings: PromotionSettings
) -> tuple[Literal["promote", "reject", "cannot tell"], list[str]]:
    """What the rules come to, and why."""
    counted = [rule for rule in rules if not (rule.evidence and settings.promote_when_undecided)]
    holds = all(rule.holds for rule in counted)
    undecided = [rule for rule in counted if rule.evidence and not rule.holds]
    shown = [rule.text for rule in counted if rule.holds == holds and not (holds and rule.detail)]
    if undecided:
        return CANNOT_TELL, [f"cannot tell: {undecided[0].text}", *shown[1:]]
    return (PROMOTE if holds else REJECT), shown


def _reference(measured: EvaluationSummary) -> tuple[str, Reference]:
    for name in (CHAMPION, BASE):
        if name in measured.against:
            return name, measured.against[name]
    raise InputError(
        f"{measured.address}: the evaluation compares with nothing; evaluate the model again with --base or --champion"
    )


def _as_served(
    measured: EvaluationSummary, name: str, reference: Reference, settings: PromotionSettings
) -> tuple[EvaluationSummary, Reference]:
    """The comparison of the candidate as it will be served, by `variant`, with the reference in the same size."""
    if not settings.variant:
        return measured, reference
    variant = variant_of(measured.variants, settings.variant, measured.address)
    metrics, size = served_comparison(variant, name, reference.metrics, measured.address)
    compared = {metric: dict(entry) for metric, entry in metrics.items()}
    return replace(measured, metrics=variant["metrics"]), replace(reference, metrics=compared, size=size)


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
    main, level = reference.metrics[settings.metric], f"{100 * measured.confidence_level:g} %"
    yield from _evidence(main, settings)
    against = f"{name} as {reference.size}" if reference.size else name
    yield from _gain(main, against, settings, measured.confidence_level)
    for metric, budget in sorted(settings.max_regression.items()):
        what = label(metric)
        yield no_drop(f"regression of {what}", what, reference.metrics[metric], budget, settings, level)
    where = measured.address
    yield from _guard(measured, name, settings, level)
    if settings.max_slice_regression:
        if measured.slices is None:
            raise InputError(
                f"{where}: has no slices.json, which promotion.max_slice_regression asks for; set evaluation.slices"
            )
        yield from slice_rules(measured.slices, name, settings, measured.confidence_level, where)
    if settings.limits_serving:
        yield from serving_rules(variant_of(measured.variants, settings.variant, where), settings, where)


def _evidence(main: Mapping[str, float], settings: PromotionSettings) -> Iterator[Rule]:
    queries, groups = int(main["queries"]), int(main["groups"])
    for name, count, least, words in (
        ("queries", queries, settings.min_queries, f"{queries:,} test queries"),
        ("groups", groups, settings.min_groups, f"test queries of {groups:,} groups"),
    ):
        text = f"{words}, {least} are the fewest on which a decision may rest"
        yield Rule(name, count >= least, text, value=float(count), threshold=float(least), evidence=True)


def _gain(
    main: Mapping[str, float], against: str, settings: PromotionSettings, confidence_level: float
) -> Iterator[Rule]:
    gain, low, p = main["difference"], main["ci_low"], main["p_value"]
    holds = gain >= settings.min_gain - ROUNDING
    metric = label(settings.metric)
    figures = f"{metric} {main['reference']:.4f} ({against}) -> {main['candidate']:.4f}"
    sign = "at least" if holds else "less than"
    text = f"{figures}: gain {gain:+.4f}, {sign} the {settings.min_gain:+.4f} demanded"
    yield Rule("gain", holds, text, value=gain, threshold=settings.min_gain)
    if not settings.require_significance:
        return
    level, share = f"{100 * confidence_level:g} %", 1 - confidence_level
    text = f"{metric}: lower bound of the gain's {level} interval {low:+.4f}, {'' if low > 0 else 'not '}above 0"
    yield Rule("significance", low > 0, text, value=low, threshold=0.0)
    holds = p <= share + ROUNDING
    wording = "at most" if holds else "above"
    text = f"{metric}: p of the paired randomisation test {p:.4f}, {wording} {share:.3g}"
    yield Rule("randomisation test", holds, text, value=p, threshold=round(share, 12))


def _guard(measured: EvaluationSummary, name: str, settings: PromotionSettings, level: str) -> Iterator[Rule]:
    """The guard set: what the model could do before it was tuned."""
    if not settings.max_guard_regression:
        return
    if measured.guard is None:
        raise InputError(
            f"{measured.address}: has no guard.json, which promotion.max_guard_regression asks for; set "
            "evaluation.guard_data"
        )
    metrics: Mapping[str, Any] = measured.guard["against"].get(name, {})
    for metric, budget in sorted(settings.max_guard_regression.items()):
        if metric not in metrics:
            known = ", ".join(sorted(metrics)) or "none"
            raise InputError(
                f"{measured.address}: {metric} was not measured against the {name} on the guard set; there are: {known}"
            )
        what = f"{label(metric)} on the guard set {measured.guard.get('name') or ''}".rstrip()
        yield no_drop(f"guard: {label(metric)}", what, metrics[metric], budget, settings, level)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 16 else text[:12] + "…"
