"""Sizes in which vectors are stored, as settings name them: dim:128, int8, dim:128+int8. Nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from sharpen.index.settings import Precision

FULL = "full"
_PRECISIONS = tuple(name for name in get_args(Precision) if name != "fp32")


@dataclass(frozen=True)
class Variant:
    """A way to store vectors.

    Attributes:
        name: as the settings have it.
        dimension: how many dimensions stay; 0: all.
        precision: of the stored numbers.
    """

    name: str
    dimension: int
    precision: Precision


def size_of(name: str) -> Variant | None:
    """The size that a setting names; None for an empty one. Raises ValueError: it is no size."""
    return parse_variants([name])[0] if name else None


def parse_variants(values: Sequence[str]) -> list[Variant]:
    """The variants that `values` name. Raises ValueError: unknown, or one twice."""
    found = [_variant(value.strip()) for value in values]
    for number, variant in enumerate(found):
        same = [other.name for other in found[:number] if _stored(other) == _stored(variant)]
        if same:
            raise ValueError(f"{variant.name} and {same[0]} are the same; keep one")
    return found


def _stored(variant: Variant) -> tuple[int, str]:
    return variant.dimension, variant.precision


def _variant(value: str) -> Variant:
    dimension, precision = 0, ""
    for part in value.split("+"):
        key, _, number = part.partition(":")
        if key == "dim" and number.isdecimal() and int(number) > 0 and not dimension:
            dimension = int(number)
        elif part in _PRECISIONS and not precision:
            precision = part
        else:
            known = ", ".join(_PRECISIONS)
            raise ValueError(f"{value!r} is no variant; write dim:N, {known}, or both as dim:128+int8")
    return Variant(value, dimension, precision or "fp32")  # type: ignore[arg-type]
