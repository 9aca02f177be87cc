"""report.html of a generation: how many queries, of what kind, what was left out, some to look at, what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import polars as pl

from sharpen.generation.filters.candidates import Candidate
from sharpen.generation.prompting.checks import REASONS
from sharpen.generation.statistics import notes
from sharpen.reports.charts import count_table
from sharpen.reports.formatting import flat, percent
from sharpen.reports.html_page import templates

SHOWN = 20
LEFT_OUT_SHOWN = 15
_CHARACTERS = 240
_DIVERSITY = {
    "distinct_1": "different words, of all words",
    "distinct_2": "different pairs of neighbouring words, of all pairs",
    "words.p50": "words of a query, median",
    "words.p95": "words of a query, 95th percentile",
    "words_from_passage": "share of a query's words that stand in its passages",
}


def render_page(report: Mapping[str, Any], candidates: Sequence[Candidate], passages: pl.DataFrame) -> str:
    """The page as one HTML file.

    Args:
        report: what report.json holds.
        candidates: all queries that were written, some of which are shown.
        passages: the table.
    """
    written = max(1, report["queries"]["written"])
    rng = Random(report["settings"]["seed"])
    left_out = [(REASONS[reason], count, count / written) for reason, count in report["left_out"].items()]
    cost, requests = report["cost"], report["requests"]
    return (
        templates(Path(__file__).parent)
        .get_template("page.html.j2")
        .render(
            cards=[
                (f"{report['queries']['accepted']:,}", "queries accepted"),
                (f"{report['queries']['written']:,}", "written"),
                (f"{report['passages_with_queries']:,}", f"of {report['passages']['passages']:,} passages have some"),
                (f"{cost['input_tokens'] + cost['output_tokens']:,}", "tokens"),
            ],
            notes=[note.removeprefix("note: ") for note in notes(dict(report))],
            model=report["provenance"]["model"],
            styles=[
                (style, [f"{counts['written']:,}", f"{counts['accepted']:,}", _accepted(counts)])
                for style, counts in report["styles"].items()
            ],
            left_out=count_table(left_out),
            accepted=_examples([one for one in candidates if not one.fault], SHOWN, passages, rng),
            refused=_examples([one for one in candidates if one.fault], LEFT_OUT_SHOWN, passages, rng),
            round_trip=flat(report["round_trip"]),
            diversity=[(_DIVERSITY[name], value) for name, value in flat(report["diversity"]) if name in _DIVERSITY],
            openings=count_table(
                [(word, None, share) for word, share in report["diversity"].get("openings", {}).items()]
            ),
            documents=flat(report["passages"]),
            requests=flat({**requests, **cost}),
            settings=flat(report["settings"]),
            provenance=flat(report["provenance"]),
        )
    )


def _accepted(counts: Mapping[str, int]) -> str:
    return percent(counts["accepted"] / max(1, counts["written"]))


def _examples(
    candidates: Sequence[Candidate], count: int, passages: pl.DataFrame, rng: Random
) -> list[tuple[str, list[str]]]:
    """(query, [style or reason, passage]) of some, drawn by lot."""
    chosen = rng.sample(range(len(candidates)), min(count, len(candidates)))
    titles, texts = passages["title"], passages["text"]
    return [
        (
            _short(one.text),
            [
                REASONS[one.fault] if one.fault else one.style,
                _short(" · ".join(" ".join(filter(None, (titles[row], texts[row]))) for row in one.rows)),
            ],
        )
        for one in (candidates[number] for number in sorted(chosen))
    ]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _CHARACTERS else line[:_CHARACTERS] + " ..."
