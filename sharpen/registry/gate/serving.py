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
    variant: Mapping[str, Any], name: str, full: Mapping[str, Mapping[str, float]], where: str
) -> tuple[Mapping[str, Mapping[str, float]], str]:
    """Metric -> a variant against a reference, and the size in which the reference was measured.

    That is the same size, or in full where the reference was not measured in it; empty for the model as it is.

    Args:
        variant: as variants.json has it.
        name: of the reference.
        full: comparison of the full model with the reference.
        where: address of the evaluation, for messages.

    Raises:
        InputError: the variant was not compared with the reference.
    """
    if not variant.get("against_full"):
        return full, ""
    if name not in variant.get("against", {}):
        raise InputError(
            f"{where}: {variant['name']} was not compared with the {name}, as promotion.variant asks for; evaluate the "
            "model again"
        )
    return variant["against"][name], variant["against_size"][name]


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
