"""Rules about the model as it will be served: its size and precision, how fast it answers, what its index takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sharpen.errors import InputError
from sharpen.registry.gate.rule import Rule
from sharpen.registry.settings import PromotionSettings

MIB = 2**20


def variant_of(variants: Sequence[Mapping[str, Any]] | None, name: str, where: str) -> Mapping[str, Any]:
    """A variant of variants.json by its name; the first, which is the model as it is, for an empty name.

    Args:
        variants: as variants.json has them; None where the evaluation measured none.
        name: `promotion.variant`.
        where: address of the evaluation, for messages.

    Raises:
        InputError: there is none.
    """
    if not variants:
        raise InputError(
            f"{where}: has no variants.json, which promotion.variant, max_latency_ms, max_bytes_per_passage and "
            "max_index_mib ask for; set evaluation.variants"
        )
    for variant in variants:
        if not name or variant["name"] == name:
            return variant
    known = ", ".join(str(variant["name"]) for variant in variants)
    raise InputError(
        f"{where}: promotion.variant {name} was not measured; there are: {known} (see evaluation.variants)"
    )


def served_comparison(
    variant: Mapping[str, Any], metrics: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """A variant against a reference in full, from the full model against both.

    The difference is the sum of the full model's gain and of what the variant loses; the bounds of its interval are the
    sums of the bounds, which is wider than the interval of the sum. p stays that of the full model's gain.

    Args:
        variant: as variants.json has it; ``against_full`` is empty for the full vectors.
        metrics: metric -> comparison of the full model with the reference.
    """
    lost = variant.get("against_full") or {}
    if not lost:
        return {metric: dict(entry) for metric, entry in metrics.items()}
    sums = ("difference", "ci_low", "ci_high")
    return {
        metric: {
            **entry,
            **{key: entry[key] + lost[metric][key] for key in sums},
            "candidate": lost[metric]["candidate"],
        }
        for metric, entry in metrics.items()
        if metric in lost
    }


def serving_rules(variant: Mapping[str, Any], settings: PromotionSettings, where: str) -> Iterator[Rule]:
    """The rules of `max_latency_ms`, `max_bytes_per_passage` and `max_index_mib` about a variant.

    Args:
        variant: as variants.json has it.
        settings: of the gate.
        where: address of the evaluation, for messages.

    Raises:
        InputError: a figure was not measured.
    """
    limits = (
        ("latency", "latency_ms_p95", settings.max_latency_ms, 1, "ms for a query, the 95th percentile"),
        ("bytes per passage", "bytes_per_passage", settings.max_bytes_per_passage, 1, "bytes a passage"),
        ("index size", "index_bytes", settings.max_index_mib, MIB, "MiB of index"),
    )
    for name, figure, limit, unit, words in limits:
        if limit is None:
            continue
        if variant.get(figure) is None:
            raise InputError(f"{where}: variants.json has no {figure} of {variant['name']}; evaluate the model again")
        value = variant[figure] / unit
        holds = value <= limit
        text = f"{variant['name']}: {value:,.4g} {words}, {'at most' if holds else 'more than'} the {limit:,g} allowed"
        yield Rule(name, holds, text, value=value, threshold=float(limit))
