"""The frame of every HTML page that Sharpen writes: foreign text is escaped and nothing is fetched.

A page's template says ``{% extends "html_page.html" %}`` and fills the blocks `title` and `body`; the style is common.
Nothing runs, but for the one script of a page that is rendered with `with_script`, which its policy knows by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, DictLoader, Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

FOLDER = Path(__file__).parent

# https://www.w3.org/TR/CSP3: even if a text escaped its element, no script of it would run and no address be fetched
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)

_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{% block title %}{% endblock %}</title>
<style>
{% include "style.css" %}
</style>
</head>
<body>
<main>
{% block body %}{% endblock %}
</main>
{% if script %}
<script type="application/json" id="data">{{ data }}</script>
<script>{{ script }}</script>
{% endif %}
</body>
</html>
"""


@cache
def templates(folder: Path) -> Environment:
    """The templates of `folder` and of this one, all values escaped; a name that a template lacks is an error."""
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader([folder, FOLDER]), DictLoader({"html_page.html": _HEAD})]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(policy=CONTENT_SECURITY_POLICY, script="", data="")
    return environment


def with_script(script: str, data: Any) -> dict[str, str]:
    """What a page is rendered with, for one script to run in it.

    Args:
        script: JavaScript of this project; nothing foreign may stand in it.
        data: JSON that the script finds in the element ``#data``; it may hold foreign text.

    Raises:
        ValueError: the script could end its own element.
    """
    if "</" in script or "<!--" in script:
        raise ValueError("a script in a page holds </ or <!--")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = CONTENT_SECURITY_POLICY.replace("script-src 'none'", f"script-src 'sha256-{digest}'")
    # in JSON a < can stand only in a text, where this means the same and opens no tag
    written = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return {"script": Markup(script), "data": Markup(written), "policy": policy}  # noqa: S704


def message_page(title: str, sentence: str, rows: Sequence[tuple[str, object]] = ()) -> str:
    """A page of one sentence.

    Args:
        title: the heading.
        sentence: what there is to say.
        rows: names and values, for a table below it; none: no table.
    """
    return templates(FOLDER).get_template("message.html.j2").render(title=title, sentence=sentence, rows=rows)
