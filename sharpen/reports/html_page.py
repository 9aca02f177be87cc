"""The frame of every HTML page that Sharpen writes: foreign text is escaped, nothing runs and nothing is fetched.

A page's template says ``{% extends "html_page.html" %}`` and fills the blocks `title` and `body`; the style is common.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import ChoiceLoader, DictLoader, Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent

# https://www.w3.org/TR/CSP3: even if a text escaped its element, no script of it would run and no address be fetched
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)

_HEAD = f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{CONTENT_SECURITY_POLICY}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{% block title %}}{{% endblock %}}</title>
<style>
{{% include "style.css" %}}
</style>
</head>
<body>
<main>
{{% block body %}}{{% endblock %}}
</main>
</body>
</html>
"""


@cache
def templates(folder: Path) -> Environment:
    """The templates of `folder` and of this one, all values escaped; a name that a template lacks is an error."""
    return Environment(
        loader=ChoiceLoader([FileSystemLoader([folder, FOLDER]), DictLoader({"html_page.html": _HEAD})]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def message_page(title: str, sentence: str, rows: Sequence[tuple[str, object]] = ()) -> str:
    """A page of one sentence.

    Args:
        title: the heading.
        sentence: what there is to say.
        rows: names and values, for a table below it; none: no table.
    """
    return templates(FOLDER).get_template("message.html.j2").render(title=title, sentence=sentence, rows=rows)
