"""Text that others chose, such as the name of a model, put into Markdown so that it stays text."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

import yaml

from sharpen.terminal import printable

_SPECIAL = re.compile(r"([\\`*\[\]|~])")


def escaped(text: object) -> str:
    """The text in one line, in which nothing is Markdown or HTML."""
    return html.escape(_SPECIAL.sub(r"\\\1", _one_line(text)), quote=False)


def code_span(text: object) -> str:
    """The text as code in one line, whatever backticks are in it; not for a table, where a bar would end the cell."""
    line = _one_line(text)
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    space = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{fence}{space}{line}{space}{fence}"


def table(rows: Mapping[str, Any]) -> list[str]:
    """Lines of a table of names and values; None is unset."""
    lines = ["| | |", "|---|---|"]
    for name, value in rows.items():
        if value is None:
            text = "unset"
        elif isinstance(value, bool):
            text = str(value).lower()
        elif isinstance(value, float):
            text = f"{value:.6g}"
        else:
            text = str(value)
        lines.append(f"| {escaped(name)} | {escaped(text)} |")
    return lines


def with_front_matter(head: Mapping[str, Any], body: str) -> str:
    """A Markdown text with YAML metadata in front, as the Hugging Face hub reads it; `split_front_matter` undoes it."""
    return f"---\n{yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True).strip()}\n---\n\n{body}"


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """The metadata in front of a Markdown text, and the rest; no metadata where there are none that can be read."""
    match = re.match(r"---\n(.*?)\n---\n+(.*)", text, re.DOTALL)
    if match is None:
        return {}, text
    try:
        head = yaml.safe_load(match[1])
    except yaml.YAMLError:
        return {}, text
    return (head, match[2]) if isinstance(head, dict) else ({}, text)


def _one_line(text: object) -> str:
    return " ".join(printable(text).split())
