"""The terms on which a champion was chosen: a new model must not replace it by being measured on others.

A champion is measured as its own folder says, so no setting of an encoder can make it look worse than it is. What is
counted could: another metric, another grade that counts as relevant, hits that are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sharpen.models.model_usage import same_usage
from sharpen.registry.settings import PromotionSettings
from sharpen.reports.formatting import label

PROTOCOL = ("split", "relevance_level", "ignore_identical_ids")
# 0.58 - 0.50 is a little less than 0.08 in floating point
_ROUNDING = 1e-9


def terms_of(facts: Mapping[str, Any], settings: PromotionSettings) -> dict[str, Any]:
    """The terms of a decision: the metric, and of the evaluation's facts what is counted."""
    return {"metric": settings.metric} | {name: facts[name] for name in PROTOCOL if name in facts}


def read_terms(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The terms in a champion's provenance.json; of an earlier version's only the metric, or nothing."""
    facts = provenance.get("gate", {}).get("facts", {})
    metric = facts.get("metric")
    return dict(facts.get("terms") or ({"metric": metric} if metric else {}))


def is_same_model(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether the facts of two evaluations are of one model: equal weights, used in the same way."""
    weights = one.get("model_hash")
    usage = one.get("encoding"), other.get("encoding")
    return bool(weights) and weights == other.get("model_hash") and same_usage(usage[0] or {}, usage[1] or {})


def terms_rules(
    champion: Mapping[str, Any],
    now: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, float]],
    settings: PromotionSettings,
) -> Iterator[tuple[str, bool, str]]:
    """Rules (name, whether it holds, its figures) by which the champion's terms are kept.

    Args:
        champion, now: `terms_of` the champion and of this decision.
        metrics: metric -> candidate against champion, with ``difference``.
        settings: of the gate; `accept_new_terms` lifts these rules.
    """
    if settings.accept_new_terms:
        return
    way_out = "measure with the champion's, or set promotion.accept_new_terms"
    for name in PROTOCOL:
        if name in champion and name in now and champion[name] != now[name]:
            text = f"the champion was chosen with {name} {champion[name]}, this is measured with {now[name]}; {way_out}"
            yield f"terms: {name}", False, text
    metric = champion.get("metric")
    if not metric or metric == now["metric"]:
        return
    if metric not in metrics:
        text = f"the champion was chosen by {label(metric)}, which is not measured; {way_out}"
        yield f"terms: {label(metric)}", False, text
        return
    change = metrics[metric]["difference"]
    holds = change >= -_ROUNDING
    wording = "which holds" if holds else f"which does not hold; {way_out}"
    yield (
        f"terms: {label(metric)}",
        holds,
        f"the champion was chosen by {label(metric)}: {change:+.4f}, it must not fall below the champion's, {wording}",
    )
