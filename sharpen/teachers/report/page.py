"""report.html of the scores: how the teachers see the negatives, what was left out, some to read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharpen.reports.charts import Figure, count_table, histogram
from sharpen.reports.formatting import flat, percent
from sharpen.reports.html_page import templates
from sharpen.teachers.report.statistics import notes

_NAMES = {
    "cross_encoder": "cross-encoder",
    "embedding_model": "embedding model",
    "judge": "language model",
    "all": "all teachers",
}
_UNITS = {
    "cross_encoder": "the cross-encoder's output",
    "embedding_model": "cosine divided by the teacher's temperature",
    "judge": "grade from 0 to 3",
}


def render_page(found: Mapping[str, Any]) -> str:
    """The page for what report.json holds under ``teachers``."""
    pairs, teachers = found["pairs"], found["teachers"]
    above = {name: row for name, row in found["above_positive"].items() if name != "all" or len(teachers) > 1}
    unit = _UNITS[next(iter(teachers))] if len(teachers) == 1 else "mean, in standard deviations within a query"
    series = [(f"{kind}s", kind, found[f"{kind}_scores"]) for kind in ("positive", "negative")]
    return (
        templates(Path(__file__).parent)
        .get_template("page.html.j2")
        .render(
            cards=[
                (f"{pairs['queries']:,}", "queries"),
                (f"{pairs['positives']:,}", "positives"),
                (f"{pairs['negatives']:,}", "negatives"),
                (percent(found["above_positive"]["all"]["share"]), "of the negatives score like a positive"),
                (f"{pairs['dropped']:,}", "negatives left out"),
            ],
            notes=notes(found),
            teachers=", ".join(str(facts["model"]) for facts in teachers.values()),
            figures=[Figure("Scores", unit, histogram("Scores of positives and negatives", series))],
            above=count_table([(_NAMES[name], row["above"], row["share"]) for name, row in above.items()]),
            margin=found["settings"]["margin"],
            dropped=pairs["dropped"],
            examples=found["examples"],
            pairs=flat(pairs),
            facts=flat(teachers),
            settings=flat(found["settings"]),
            provenance=flat({**found["provenance"], "seconds": found["seconds"]}),
        )
    )
