"""JSON in a model's folder, which comes from anywhere: of the right kind, or one line for the user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sharpen.errors import InputError


def read_json(path: Path, default: Any, kind: type) -> Any:
    """The JSON value in a file.

    Args:
        path: of the file.
        default: the value where there is no file.
        kind: that it must be of, list or dict.

    Raises:
        InputError: it is damaged, or of another kind.
    """
    if not path.is_file():
        return default
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({short(error)})") from None
    if not isinstance(value, kind):
        name = {list: "a list", dict: "an object"}[kind]
        raise InputError(f"{path}: must hold {name}, not {short(value)}")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write a `value` into a file, whose folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def short(value: Any) -> str:
    """A `value` in a message: its text, at most 80 characters."""
    text = str(value) if isinstance(value, str | Exception) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
