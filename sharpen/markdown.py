"""Text that others chose, such as the name of a model, put into Markdown so that it stays text."""

from __future__ import annotations

import html
import re

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


def _one_line(text: object) -> str:
    return " ".join(printable(text).split())
