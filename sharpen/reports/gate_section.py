"""What the gate said and why, put into the report of the evaluation that it judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sharpen.reports.html_page import FOLDER, templates

MARKER = "<!-- gate -->"
"""Where a report takes the section; a text of the data cannot be it, as its < is escaped."""

SENTENCES = {
    "promote": ("up", "The gate let this model pass."),
    "reject": ("down", "The gate turned this model down."),
    "cannot tell": ("level", "The gate cannot tell whether this model is better."),
}


def with_gate(report: str, record: Mapping[str, Any]) -> str:
    """A report with the section for the contents of a gate.json; unchanged where it has nowhere to put it.

    Args:
        report: HTML, as an evaluation wrote it.
        record: ``verdict``, ``reasons`` and, in ``facts``, ``against`` and ``rules``: name -> ``holds`` and ``text``.
    """
    facts = record.get("facts") or {}
    verdict = str(record.get("verdict", ""))
    tone, sentence = SENTENCES.get(verdict, ("level", verdict.capitalize()))
    rules = [
        (name, bool(rule.get("holds")), str(rule.get("text", ""))) for name, rule in (facts.get("rules") or {}).items()
    ]
    section = (
        templates(FOLDER)
        .get_template("gate.html.j2")
        .render(
            tone=tone,
            sentence=sentence,
            against=facts.get("against", ""),
            # the rules say the same with their verdicts
            reasons=[] if rules else list(record.get("reasons") or []),
            rules=rules,
        )
    )
    return report.replace(MARKER, section, 1)
