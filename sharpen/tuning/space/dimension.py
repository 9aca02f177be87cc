"""One setting of a search and the values that it may take."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharpen.errors import InputError

_RANGE = re.compile(r"\s*(?P<low>[^\s:,]+?)\s*\.\.\s*(?P<high>[^\s:,]+?)\s*(?::\s*(?P<scale>\w+))?\s*")
_WORDS = {"none": None, "null": None, "true": True, "false": False}
_FORM = "write LOW..HIGH, LOW..HIGH:log, or values such as 1,2,4"


@dataclass(frozen=True)
class Dimension:
    """A setting, and either a range or a list of values.

    Attributes:
        name: full name, such as ``training.learning_rate``.
        low, high: ends of the range, both included; None where there are `choices`.
        log: whether values are drawn evenly on a logarithmic scale.
        choices: the values; empty where there is a range.
        whole: whether only whole numbers are drawn.
    """

    name: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()
    whole: bool = False

    @property
    def values(self) -> tuple[Any, ...]:
        """What must be allowed of the setting: the choices, or the ends of the range."""
        return self.choices or (self.low, self.high)

    def contains(self, value: Any) -> bool:
        """Whether a search could propose the value."""
        if self.choices:
            return any(value == one and type(value) is type(one) for one in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.low is not None
        assert self.high is not None
        return self.low <= value <= self.high

    def described(self) -> str:
        """As it is typed."""
        if self.choices:
            return ",".join(value if isinstance(value, str) else json.dumps(value) for value in self.choices)
        return f"{self.low:g}..{self.high:g}{':log' if self.log else ''}"


def parse(text: str) -> Dimension:
    """A dimension from ``name=LOW..HIGH[:log]`` or ``name=VALUE,VALUE``. Raises InputError for anything else."""
    name, sign, rest = text.partition("=")
    if not sign or not name.strip() or not rest.strip():
        raise InputError(f"--search {text}: write name=values, for example training.learning_rate=1e-6..1e-4:log")
    return of_text(name.strip(), rest)


def of_text(name: str, text: str) -> Dimension:
    """The dimension of a setting's `name` whose values are a text such as ``1e-6..1e-4:log``; InputError if not."""
    if ".." not in text:
        values = [part.strip() for part in text.split(",")]
        return _checked(name, {"choices": [_value(part) for part in values]})
    found = _RANGE.fullmatch(text)
    if found is None or found["scale"] not in (None, "log"):
        raise InputError(f"{name}: {text.strip()!r} is no range; {_FORM}")
    return _checked(name, {"low": _value(found["low"]), "high": _value(found["high"]), "log": bool(found["scale"])})


def of_yaml(name: str, given: Any) -> Dimension:
    """The dimension of a setting's `name` from a value of a YAML file: a text, a list, or ``low``, ``high``, ``log``.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(given, str):
        return of_text(name, given)
    if isinstance(given, Sequence):
        return _checked(name, {"choices": list(given)})
    if not isinstance(given, Mapping):
        raise InputError(f"{name}: {given!r} is neither a range nor values; {_FORM}")
    if unknown := sorted(map(str, given.keys() - {"low", "high", "log", "choices"})):
        raise InputError(f"{name}: {unknown[0]} is unknown; a range has low, high and log, or there are choices")
    return _checked(name, dict(given))


def _checked(name: str, given: Mapping[str, Any]) -> Dimension:
    low, high, log = given.get("low"), given.get("high"), given.get("log", False)
    if "choices" in given:
        choices = given["choices"]
        if not isinstance(choices, Sequence) or isinstance(choices, str) or len(given) > 1:
            raise InputError(f"{name}: choices is a list of values, alone")
        if len(choices) < 2 or len({json.dumps(value, default=str) for value in choices}) < len(choices):
            raise InputError(f"{name}: give at least two different values, each once")
        return Dimension(name, choices=tuple(choices))
    for end, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{name}: {end} is {value!r}, no number; {_FORM}")
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    if not low < high:
        raise InputError(f"{name}: {low:g}..{high:g} is empty; the first number must be below the second")
    if not isinstance(log, bool):
        raise InputError(f"{name}: log is true or false, not {log!r}")
    if log and low <= 0:
        raise InputError(f"{name}: a logarithmic range begins above 0, not at {low:g}")
    return Dimension(name, low, high, log)


def _value(text: str) -> Any:
    """A number, true, false, none, or the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
