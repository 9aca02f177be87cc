"""The figures of a mining run in short, as lines for the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sharpen.progress import clock


def summary(report: Mapping[str, Any]) -> list[str]:
    """report.json in a few lines."""
    picked, short, estimate = report["picked_by"], report["short"], report["hidden_positives"]
    dropped = {rule: count for rule, count in report["dropped_by_rule"].items() if count}
    top = report["share_of_queries_with_a_positive_in_top"]
    lines = [
        f"{report['negatives']:,} negatives for {report['queries']:,} queries in {clock(report['seconds']['total'])}: "
        + ", ".join(f"{count:,} by {name}" for name, count in picked.items() if count),
        f"filtered out of {report['candidates']:,} candidates: "
        + (", ".join(f"{count:,} {rule}" for rule, count in dropped.items()) or "none"),
        "a positive stands in the top "
        + ", ".join(f"{k} of {share:.1%}" for k, share in top.items())
        + " of the queries",
    ]
    lines += [
        f"approximate search {search['index']}: finds {search['recall']:.1%} of the exact top {search['ranks']}, over "
        f"{search['queries']:,} sampled queries"
        for search in report["search"].values()
        if search["index"] != "exact"
    ]
    if len(report["sources"]) > 1:
        found = (f"{row['negatives']:,} of {row['candidates']:,} by {row['source']}" for row in report["sources"])
        lines.append("negatives of candidates: " + ", ".join(found))
    if (topped_up := report["topped_up"])["queries"]:
        lines.append(
            f"{topped_up['queries']:,} queries were topped up: {topped_up['from_further_ranks']:,} negatives from "
            f"further ranks, {topped_up['at_random']:,} at random"
        )
    if short["queries"]:
        missing = f"{short['negatives_missing']:,} negatives"
        lines.append(
            f"{short['queries']:,} queries are left short by {missing} in all: relax the score rules or top_up"
        )
    if report["queries_without_positive"]:
        lines.append(f"{report['queries_without_positive']:,} queries have no positive and were left out")
    if consistency := report["consistency"]:
        lines.append(
            f"{consistency['inconsistent_queries']:,} queries have no positive in the top {consistency['top']}; "
            f"{consistency['dropped_queries']:,} dropped"
        )
    if rescoring := report["rescoring"]:
        rates = {
            way: rescoring.get(f"rate_{way}") or 0.0 for way in ("as_set", "by_the_mining_model", "without_filters")
        }
        lines.append(
            f"the cross-encoder takes {rates['as_set']:.1%} of the negatives for relevant "
            f"({rates['by_the_mining_model']:.1%} had the mining model judged, {rates['without_filters']:.1%} without "
            "score rules)"
        )
    if estimate:
        lines.append(
            f"of {estimate['queries']:,} hidden positives, {estimate['rate_as_set']:.1%} would be picked as negatives "
            f"({estimate['rate_without_filters']:.1%} without score rules, "
            f"{estimate['rate_top_without_filters']:.1%} from the highest ranks)"
        )
    return lines
