"""In what two versions differ: settings, data, and figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from sharpen.registry.lineage.lineage import Lineage
from sharpen.reports.formatting import flat


@dataclass(frozen=True)
class Difference:
    """One thing that is not equal.

    Attributes:
        part: ``settings``, ``data``, ``made of`` or ``metrics``.
        name: what, such as ``training.learning_rate``.
        first, second: its value in each version as text; empty where it has none.
        change: second minus first, of numbers; else None.
    """

    part: str
    name: str
    first: str
    second: str
    change: float | None = None


def differences(first: Lineage, second: Lineage) -> list[Difference]:
    """All in which two versions differ, part by part, by name."""
    return [
        *_rows("settings", first.settings, second.settings),
        *_rows("data", _data(first), _data(second)),
        *_rows("made of", _made_of(first), _made_of(second)),
        *_rows("metrics", first.version.metrics, second.version.metrics),
    ]


def _data(one: Lineage) -> dict[str, Any]:
    return {"fingerprint": one.data_fingerprint, **one.counts}


def _made_of(one: Lineage) -> dict[str, Any]:
    compared = ("evaluation", "compared with base", "compared with champion")
    return {"code": one.code_version} | {what: address for what, address in one.parents.items() if what not in compared}


def _rows(part: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Difference]:
    texts, numbers = (dict(flat(values)) for values in (first, second)), (first, second)
    before, after = texts
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            old, new = (number.get(name) for number in numbers)
            change = None
            if _is_number(old) and _is_number(new):
                change = new - old
            yield Difference(part, name, before.get(name, ""), after.get(name, ""), change)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
