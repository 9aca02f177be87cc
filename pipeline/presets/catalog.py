"""The presets that there are: files beside this one, each begun by ten lines that say when, what and at what cost."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path
from typing import Any

from sharpen.errors import InputError
from sharpen.store.yaml_file import read_yaml
from sharpen.terminal import one_line

AUTO = "auto"
"""Not a preset: the one that fits data and machine is chosen."""

NAMES = (
    "hundreds",
    "tens-of-thousands",
    "millions",
    "multilingual",
    "code",
    "decoder-lora",
    "no-labels",
    "strong-base",
)
"""All presets, in the order of the guide."""

_FOLDER = Path(__file__).parent


def read_preset(name: str) -> dict[str, Any]:
    """The settings of a preset, as a file of settings holds them. Raises InputError, naming all, for an unknown one."""
    return read_yaml(_file(name), "preset")


def preset_text(name: str) -> str:
    """The file of a preset as it is. Raises InputError as `read_preset`."""
    return _file(name).read_text(encoding="utf-8")


@cache
def explanation(name: str) -> tuple[tuple[str, str], ...]:
    """(subject, text) of each line that explains a preset, such as ``("When", "some hundred pairs ...")``."""
    lines = [line[2:] for line in preset_text(name).splitlines() if line.startswith("# ")]
    return tuple((subject, text) for subject, _, text in (line.partition(": ") for line in lines))


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """Full name -> value of every setting that values as a file holds them set."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        found |= {f"{name}.{part}".rstrip("."): one for part, one in inner}
    return found


def _file(name: str) -> Path:
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"preset: {one_line(name)}: unknown; known: {AUTO}, {', '.join(NAMES)}{hint}")
    return _FOLDER / f"{name}.yaml"
