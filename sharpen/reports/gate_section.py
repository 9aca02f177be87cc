"""What the gate said and why, put into the report of the evaluation that it judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sharpen.reports.formatting import plain
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
        record: ``verdict``, ``reasons`` and, in ``facts``, ``against`` and ``rules``, as `rule_rows` takes them.
    """
    facts = record.get("facts") or {}
    verdict = str(record.get("verdict", ""))
    tone, sentence = SENTENCES.get(verdict, ("level", verdict.capitalize()))
    rules = rule_rows(facts.get("rules") or {})
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


def rule_rows(rules: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, bool, str, str, str]]:
    """Name, whether it holds, value, threshold and figures in words of each rule.

    Args:
        rules: name -> ``holds``, ``text``, ``value`` and ``threshold``; the last two may lack.
    """
    rows = []
    for name, rule in rules.items():
        numbers = (rule.get(key) for key in ("value", "threshold"))
        value, threshold = ("" if number is None else plain(round(number, 4)) for number in numbers)
        rows.append((name, bool(rule.get("holds")), value, threshold, str(rule.get("text", ""))))
    return rows
