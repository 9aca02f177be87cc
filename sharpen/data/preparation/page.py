"""What a prepared data set is made of: stats.json as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharpen.data.dataset import SPLITS
from sharpen.data.preparation import page_of_checks
from sharpen.data.preparation.splits.notes import split_rows
from sharpen.data.preparation.statistics import notes
from sharpen.reports.charts import Figure, histogram, split_bar
from sharpen.reports.formatting import flat
from sharpen.reports.html_page import templates
from sharpen.store import storage

COLUMNS = {
    "queries": "queries",
    "positive_pairs": "relevant pairs",
    "pairs": "judged pairs",
    "queries_with_several_positives": "queries with several relevant passages",
}
ROLES = {"train": "w", "dev": "t", "test": "l"}


def read_page(address: str) -> str:
    """The page of a prepared data set. Raises NotFound when it has no stats.json."""
    return render_page(storage.read_json(storage.join(address, "stats.json")), address)


def render_page(stats: Mapping[str, Any], address: str) -> str:
    """The page for the contents of stats.json; `address` is the data set's."""
    splits = stats["splits"]
    return (
        templates(Path(__file__).parent)
        .get_template("page.html.j2")
        .render(
            stats=stats,
            cards=[
                (f"{sum(splits[split]['queries'] for split in SPLITS):,}", "queries"),
                (f"{stats['passages']:,}", "passages"),
                (f"{sum(splits[split]['positive_pairs'] for split in SPLITS):,}", "relevant pairs"),
                *([(f"{n:,}", "rows quarantined")] if (n := stats["quarantine"]["rows"]) else []),
            ],
            notes=notes(stats),
            bar=split_bar([(split, ROLES[split], splits[split]["queries"]) for split in SPLITS]),
            splits=[(split, [f"{splits[split][key]:,}" for key in COLUMNS]) for split in SPLITS],
            columns=list(COLUMNS.values()),
            splitting=split_rows(stats),
            lengths=[_lengths(kind, stats) for kind in ("query", "passage")],
            checked=_checked(stats) if "checks" in stats else None,
            inputs=[
                (fact["address"], [fact["kind"], fact["role"], f"{fact['rows']:,}", f"{fact['queries']:,}"])
                for fact in stats["inputs"]
            ],
            all_figures=flat(
                {key: value for key, value in stats.items() if key not in ("inputs", "fingerprint", "checks")}
            ),
            provenance=[("address", address), ("fingerprint", stats["fingerprint"])],
        )
    )


def _checked(stats: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows of the checks."""
    checks = stats["checks"]
    return {
        "findings": page_of_checks.findings(checks),
        "languages": page_of_checks.languages(checks),
        "tokens": page_of_checks.tokens(checks),
        "estimated": any(one["estimated"] for one in checks["tokens"].values()),
        "repeats": page_of_checks.repeats(checks),
        "leaks": page_of_checks.leaks(checks),
        "leak_notes": page_of_checks.leak_notes(checks, stats["leaks"]),
        "negatives": page_of_checks.negatives(checks),
        "positives": page_of_checks.positives(checks),
        "examples": page_of_checks.examples(checks),
    }


def _lengths(kind: str, stats: Mapping[str, Any]) -> Figure:
    words = stats["words"][kind]
    heading = {"query": "Queries", "passage": "Passages"}[kind]
    return Figure(
        heading,
        f"characters; half have at most {words['p50']:.0f} words, 95 % at most {words['p95']:.0f}",
        histogram(f"Characters of {heading.lower()}", [(heading.lower(), "positive", stats["characters"][kind])]),
    )
