"""Causes in the labels: positives that answer nothing, labels that contradict one another, passages that repeat."""

from __future__ import annotations

from sharpen.diagnosis.artifacts import BASE, RunArtifacts
from sharpen.diagnosis.finding import Change, Finding
from sharpen.diagnosis.statistics import share_bounds
from sharpen.reports.formatting import percent

_TOP = 10
# the base model finds half as many of training's positives as of the test's
_RATIO = 0.5
# how many times as often as by chance
_CHANCE = 3.0
_LEAST_QUERIES, _LEAST_PASSAGES = 30, 200
_CONFLICTS = 0.01
_REPEATED, _MUCH_REPEATED = 0.1, 0.3

_DROP = (Change("mining.consistency_top", "100"), Change("mining.on_inconsistent", "drop"))


def wrong_positives(run: RunArtifacts) -> Finding | None:
    """Training positives that the mining model finds less often than the test's, or as seldom as by chance."""
    shares = run.mining.get("share_of_queries_with_a_positive_in_top", {})
    queries, passages = run.mining.get("queries", 0), run.mining.get("passages", 0)
    if str(_TOP) not in shares or queries < _LEAST_QUERIES or passages < _LEAST_PASSAGES:
        return None
    share = shares[str(_TOP)]
    _, most = share_bounds(share * queries, queries)
    tested = run.against(BASE, f"hit_rate_at_{_TOP}").get("reference")
    by_chance = _TOP / passages
    against_test = tested is not None and most < _RATIO * tested
    if not against_test and most >= _CHANCE * by_chance:
        return None
    compared = (
        f"of the test queries it finds one for {percent(tested)}"
        if against_test and tested is not None
        else (f"by chance it would be {percent(by_chance)}")
    )
    return Finding(
        "positives that do not fit",
        f"the model that mines finds a positive in its top {_TOP} for {percent(share)} of {queries:,} training "
        f"queries; {compared}: many labels are wrong, or training asks for something else than the test",
        "likely",
        0.9,
        "harm",
        _DROP,
        {"share_in_top_10": share, "share_in_top_10_of_test": tested, "by_chance": by_chance},
        "look at the examples of the mining report: does the positive answer the query?",
    )


def conflicts(run: RunArtifacts) -> Finding | None:
    """Texts and pairs with labels that contradict one another."""
    found = run.checks.get("conflicting_labels", {})
    count = sum(kind["found"] for kind in found.values())
    pairs = sum(split["pairs"] for split in run.data.get("splits", {}).values())
    labelled = max(pairs, run.data.get("quarantine", {}).get("rows_read", 0), 1)
    if count < 3 or count / labelled < _CONFLICTS:
        return None
    kinds = ", ".join(f"{kind['found']:,} of {name}" for name, kind in found.items() if kind["found"])
    return Finding(
        "labels that contradict one another",
        f"{count:,} of {labelled:,} labels contradict another one ({kinds})",
        "certain",
        min(0.8, 0.3 + 2 * count / labelled),
        "harm",
        figures={"conflicts": count, "labels": labelled},
        advice="repair them: the data's page and stats.json show examples; max_conflicting_labels of a data.contract "
        "keeps such data out",
    )


def duplicates(run: RunArtifacts) -> Finding | None:
    """Passages that nearly repeat another one: a copy of the positive is a negative, and a right hit is wrong."""
    near = run.checks.get("duplicates", {}).get("passage", {}).get("near", {})
    share = near.get("share", 0.0)
    if share < _REPEATED:
        return None
    return Finding(
        "passages that repeat one another",
        f"{near['near_duplicates']:,} of {near['counted']:,} passages are near copies of another ({percent(share)}); "
        "a copy of the positive is trained on as a negative, and counts as a wrong hit in the test",
        "likely",
        min(0.9, 0.3 + share),
        "harm" if share >= _MUCH_REPEATED else "limit",
        (Change("training.false_negative_margin", "0", "in-batch negatives above the positive are left out"),),
        {"near_duplicates": near["near_duplicates"], "looked_at": near["counted"]},
        "remove the copies, or name the other copies as positives, too",
    )
