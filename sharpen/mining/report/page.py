"""The report as one HTML page without scripts and without anything to fetch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sharpen.mining.report.statistics import NEGATIVES_SHOWN
from sharpen.reports.charts import Figure, count_table, histogram
from sharpen.reports.html_page import templates

RULE_NAMES = {
    "known_positive_id": "known positive, by id",
    "known_positive_text": "known positive, by text",
    "query_text": "the query's own text",
    "given_negative": "given as a negative already",
    "repeated_text": "copy of a passage ranked higher",
    "max_score": "above max_score",
    "min_score": "below min_score",
    "absolute_margin": "absolute_margin: too close to the positive",
    "relative_margin": "relative_margin: too close to the positive",
    "rescoring_max_score": "rescoring_max_score: surely relevant by the cross-encoder",
}
PICKED_NAMES = {
    "search": "sampled from the range",
    "further_rank": "topped up from the ranks after the range",
    "random_share": "drawn from the whole corpus, as random_share asks",
    "random_top_up": "topped up from the whole corpus, at random",
    "given": "given with the data",
}
WAY_NAMES = {
    "rate_as_set": "with these settings",
    "rate_by_the_mining_model": "margins judged by the mining model instead",
    "rate_without_filters": "same range, without score rules",
    "rate_top_without_filters": "highest ranks, without score rules",
}
OUTCOME_NAMES = {
    **RULE_NAMES,
    "picked": "picked as a negative",
    "not_drawn": "in the range, but not drawn",
    "above_the_range": "ranked above the range",
    "below_the_range": "ranked below the range",
    "below_the_searched_ranks": "below the searched ranks",
}


def score_figures(report: Mapping[str, Any]) -> list[Figure]:
    """Histograms of the mining model's scores, and of the cross-encoder's where there is one."""
    found = [("Scores of the mining model", "share of each kind per bin", report)]
    if report["rescoring"]:
        found.append(("Scores of the cross-encoder", "as it returns them", report["rescoring"]))
    return [
        Figure(
            heading,
            note,
            histogram(heading, [(f"{kind}s", kind, scores[f"{kind}_scores"]) for kind in ("positive", "negative")]),
        )
        for heading, note, scores in found
    ]


def render_page(report: Mapping[str, Any]) -> str:
    """The page for the contents of report.json."""
    estimate, rescoring = report["hidden_positives"], report["rescoring"]
    template = templates(Path(__file__).parent).get_template("page.html.j2")
    return template.render(
        report=report,
        figures=score_figures(report),
        sources=[
            (row["source"], [f"{row[key]:,}" for key in ("candidates", "found_by_no_other", "negatives")])
            for row in report["sources"]
        ],
        dropped=counted(report["dropped_by_rule"], RULE_NAMES, report["candidates"]),
        picked=counted(origins(report), PICKED_NAMES, report["negatives"]),
        hidden_rates=rates(estimate, "picked") if estimate else "",
        audit_rates=rates(rescoring, "false") if rescoring else "",
        outcome=counted(estimate["outcome"], OUTCOME_NAMES, estimate["queries"]) if estimate else "",
        examples=[example(row) for row in report["examples"]],
        provenance=[
            *((key.replace("_", " "), report[key]) for key in ("model", "model_hash", "data", "data_fingerprint")),
            ("seconds", ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in report["seconds"].items())),
            *(
                (name, "unset" if value is None else value)
                for group in ("settings", "encoder")
                for name, value in report[group].items()
            ),
        ],
    )


def origins(report: Mapping[str, Any]) -> dict[str, int]:
    """How many negatives came from where; random draws by the reason for which they were made."""
    picked = report["picked_by"]
    return {
        "search": picked["search"],
        "further_rank": picked["further_rank"],
        "random_share": report["drawn_for_random_share"],
        "random_top_up": report["topped_up"]["at_random"],
        "given": picked["given"],
    }


def rates(estimate: Mapping[str, Any], what: str) -> Markup:
    """A row with a bar for each choice that an estimate has a rate for; `what` stands after each rate."""
    found = [(words, None, estimate[key]) for key, words in WAY_NAMES.items() if estimate.get(key) is not None]
    return count_table(found, what)


def counted(counts: Mapping[str, int], names: Mapping[str, str], total: int) -> Markup:
    """A row with a bar for each of the `counts` above 0, called by `names`; shares are of `total`."""
    return count_table([(names.get(key, key), n, n / max(1, total)) for key, n in counts.items() if n])


def example(row: Mapping[str, Any]) -> dict[str, Any]:
    """An example's passages as a list: (role, text, score, rank, source)."""
    passages = [("positive", row["positive"], row["positive_score"], None, None)]
    for number in range(1, NEGATIVES_SHOWN + 1):
        name = f"negative_{number}"
        if name in row:
            rank, source = row[f"{name}_rank"], row[f"{name}_source"]
            passages.append(("negative", row[name], row[f"{name}_score"], rank, source))
    return {"query": row["query"], "passages": passages}
