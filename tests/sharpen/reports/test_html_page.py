"""The head of every page: its policy comes first, values are escaped, a missing one is an error."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import pytest

from sharpen.reports.html_page import CONTENT_SECURITY_POLICY, templates, with_script
from tests.sharpen.reports.html_pages import HOSTILE, check_page

ROOT = Path(__file__).parents[3]
TEMPLATE = (
    '{% extends "html_page.html" %}{% block title %}{{ name }}{% endblock %}'
    '{% block body %}<p title="{{ name }}">{{ name }}</p>{% endblock %}'
)


def test_hostile_values_stay_text(tmp_path: Path) -> None:
    (tmp_path / "page.html.j2").write_text(TEMPLATE)
    page = templates(tmp_path).get_template("page.html.j2").render(name=HOSTILE)
    text = check_page(page)
    assert "<script>alert(1)</script>" in text and "{{ 7*7 }}" in text
    with pytest.raises(jinja2.UndefinedError):
        templates(tmp_path).get_template("page.html.j2").render()


def test_one_script_runs_and_its_data_stay_data(tmp_path: Path) -> None:
    (tmp_path / "page.html.j2").write_text(TEMPLATE)
    script = "document.title = JSON.parse(document.getElementById('data').textContent)[0];\n"
    page = templates(tmp_path).get_template("page.html.j2").render(name="x", **with_script(script, [HOSTILE]))
    check_page(page, script)
    with pytest.raises(ValueError, match="holds </ or <!--"):
        with_script("'</script>'", [])


def test_the_policy_lets_nothing_run_or_load() -> None:
    rules = dict(rule.split(" ", 1) for rule in CONTENT_SECURITY_POLICY.split("; "))
    assert rules == {
        "default-src": "'none'",
        "script-src": "'none'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_every_page_of_the_project_begins_with_this_head() -> None:
    """A template that has a head of its own would have a policy of its own, or none."""
    pages = [path for room in ("sharpen", "components", "pipeline") for path in (ROOT / room).rglob("*.j2")]
    assert len(pages) >= 3
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert "<html" not in text and "<head>" not in text, path
        if "<main" in text or "{% block" in text:
            assert text.startswith('{% extends "html_page.html" %}'), path
    heads = [
        path
        for room in ("sharpen", "components", "pipeline")
        for path in (ROOT / room).rglob("*.py")
        if re.search(r"<!doctype|<html", path.read_text(encoding="utf-8"), re.IGNORECASE)
    ]
    assert [path.name for path in heads] == ["html_page.py"]
