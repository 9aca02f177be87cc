"""Rules about parts of the test queries: one language, one source, long queries.

Two kinds, because many small parts cannot all be proved harmless:

- a part that `max_slice_regression` names (``language=de``) is judged as `max_regression` judges a metric: a drop
  beyond its budget must be ruled out by the interval;
- parts that it names together (``language``, or ``*`` for all) are judged as a family: none may have a drop that is
  deeper than the budget and significant after Holm's correction over the family, so that equal models are refused in
  at most half of 1 minus the interval's level (2.5 % for 95 %), however many parts there are. Parts with fewer than
  `min_slice_queries` queries or `min_groups` groups are not judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sharpen.errors import InputError
from sharpen.multiple_testing import holm
from sharpen.registry.gate.regression import no_drop
from sharpen.registry.gate.rule import ROUNDING, Rule
from sharpen.registry.settings import ALL_SLICES, PromotionSettings
from sharpen.reports.formatting import label

Slice = Mapping[str, Any]


def slice_rules(
    slices: Sequence[Slice], reference: str, settings: PromotionSettings, confidence_level: float, where: str
) -> Iterator[Rule]:
    """The rules of `max_slice_regression`.

    Args:
        slices: as slices.json has them.
        reference: ``champion`` or ``base``.
        settings: of the gate.
        confidence_level: of the intervals.
        where: address of the evaluation, for messages.

    Raises:
        InputError: a part that is named was not measured, or not against this reference.
    """
    budgets = settings.max_slice_regression
    _check_names(slices, budgets, where)
    level = f"{100 * confidence_level:g} %"
    family: list[tuple[str, Mapping[str, float], float]] = []
    too_small = 0
    for part in slices:
        name = f"{part['field']}={part['value']}"
        budget = budgets.get(name, budgets.get(part["field"], budgets.get(ALL_SLICES)))
        if budget is None:
            continue
        small = _too_small(part, settings)
        entry = {} if small else _entry(part, name, reference, settings.metric, where)
        if name in budgets:
            if small:
                yield Rule(f"queries of slice {name}", False, f"slice {name}: {small}", evidence=True)
            else:
                what = f"{label(settings.metric)} of slice {name}"
                yield no_drop(f"slice {name}", what, entry, budget, settings, level)
        elif small:
            too_small += 1
        else:
            family.append((name, entry, budget))
    if set(budgets) & {ALL_SLICES, *(part["field"] for part in slices)}:
        yield from _family_rules(family, too_small, settings, 1 - confidence_level)


def _family_rules(
    family: Sequence[tuple[str, Mapping[str, float], float]], too_small: int, settings: PromotionSettings, share: float
) -> Iterator[Rule]:
    corrected = holm([entry["p_value"] for _, entry, _ in family])
    rules = []
    for (name, entry, budget), p in zip(family, corrected, strict=True):
        change = entry["difference"]
        beyond = change < -budget - ROUNDING
        holds = not beyond or (settings.require_significance and p > share + ROUNDING)
        wording = f"{'beyond' if beyond else 'within'} the allowed drop of {budget:.4f}"
        if beyond and settings.require_significance:
            wording += f", {'not significant' if holds else 'significant'}: p {p:.4f} after Holm over {len(family)}"
        text = f"{label(settings.metric)} of slice {name}: {change:+.4f}, {wording}"
        rules.append(Rule(f"slice {name}", holds, text, value=change, threshold=-budget, detail=True))
    failed = sum(not rule.holds for rule in rules)
    small = f", {too_small} with too few queries not judged" if too_small else ""
    text = f"{len(rules)} slices judged{small}: {failed or 'none'} with a drop beyond its budget"
    text += " that is significant" if settings.require_significance else ""
    yield Rule("slices", not failed, text, value=float(failed), threshold=0.0)
    yield from rules


def _check_names(slices: Sequence[Slice], budgets: Mapping[str, float], where: str) -> None:
    known = {f"{part['field']}={part['value']}" for part in slices} | {part["field"] for part in slices}
    missing = [name for name in budgets if name not in known | {ALL_SLICES}]
    if missing or not slices:
        raise InputError(
            f"{where}: promotion.max_slice_regression names {', '.join(missing or budgets)}, which was not measured; "
            f"there are: {', '.join(sorted(known)) or 'no slices'} (see evaluation.slices)"
        )


def _entry(part: Slice, name: str, reference: str, metric: str, where: str) -> Mapping[str, float]:
    entry: Mapping[str, float] | None = (part.get("against") or {}).get(reference, {}).get(metric)
    if entry is None:
        raise InputError(
            f"{where}: slice {name} was not compared with the {reference} by {metric}; lower "
            "evaluation.slice_min_queries, or raise promotion.min_slice_queries"
        )
    return entry


def _too_small(part: Slice, settings: PromotionSettings) -> str:
    """Why a slice is too small to judge; empty where it is not."""
    for unit, least in (("queries", settings.min_slice_queries), ("groups", settings.min_groups)):
        if part[unit] < least:
            return f"{int(part[unit]):,} {unit}, {least} are the fewest on which a decision may rest"
    return ""
