"""What may hold a model back, put into the report of the evaluation that measured it."""

from __future__ import annotations

from pathlib import Path

from sharpen.diagnosis.explain import KINDS, NOTHING, Explanation
from sharpen.reports.html_page import templates

MARKER = "<!-- causes -->"
"""Where a report takes the section; a text of the data cannot be it, as its < is escaped."""


def with_causes(report: str, explained: Explanation) -> str:
    """A report with the section of a run's findings; unchanged where it has nowhere to put it.

    Args:
        report: HTML, as an evaluation wrote it.
        explained: what the run's artifacts say.
    """
    groups = [(title, found) for kind, title in KINDS.items() if (found := explained.of(kind))]
    section = (
        templates(Path(__file__).parent)
        .get_template("section.html.j2")
        .render(
            groups=groups,
            nothing="" if explained.of("harm", "doubt") else NOTHING,
            missing=explained.missing,
        )
    )
    return report.replace(MARKER, section, 1)
