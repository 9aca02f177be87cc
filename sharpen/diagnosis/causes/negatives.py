"""Causes in the negatives: too few, false, too easy, too hard."""

from __future__ import annotations

import math

from sharpen.diagnosis.artifacts import RunArtifacts
from sharpen.diagnosis.finding import Change, Finding
from sharpen.diagnosis.statistics import share_above, share_bounds
from sharpen.reports.formatting import percent

# the contrast of a query: BGE trains with thousands of negatives, FlagEmbedding's examples with 15
_VERY_FEW, _FEW = 8, 32
_BATCH = 64
# on MedQuAD the defaults pick 26 % of hidden positives and the naive choice 91 % (tests/peers/RESULTS.md)
_FALSE, _MANY_FALSE = 0.4, 0.6
_LEAST_QUERIES = 20
_BY_CROSS_ENCODER = 0.1
_RANDOM = 0.5
# of the loss by chance: a first loss below it leaves nothing to learn
_NOTHING_TO_LEARN = 0.02
# real data with the default margin have .28 to .33
_OVERLAP = 0.45
_CONTRASTIVE = ("infonce", "kl_div", "m3_kd_loss", "gist_embed")


def few(run: RunArtifacts) -> Finding | None:
    """A batch so small that a query meets only a few negatives."""
    count = run.training.get("negatives_per_query")
    if count is None or count >= _FEW or run.training.get("loss") not in _CONTRASTIVE or not _searches(run):
        return None
    batch, group = run.settings["train_batch_size"], run.settings["train_group_size"]
    one = batch == 1 or not run.settings["use_inbatch_neg"]
    name = "a batch of one" if batch == 1 else "few negatives"
    changes = (Change("training.use_inbatch_neg", "true"),) if not run.settings["use_inbatch_neg"] else ()
    return Finding(
        name,
        f"a query meets {count:.1f} negatives in a step (batch {batch:,}, group {group:,}"
        f"{', no in-batch negatives' if one else ''}); the loss tells little about all the other passages",
        "likely",
        0.85 if count < _VERY_FEW else 0.45,
        "harm" if count < _VERY_FEW else "limit",
        (*changes, Change("training.train_batch_size", str(max(_BATCH, batch)), "memory stays bounded by the cache")),
        {"negatives_per_query": count, "train_batch_size": batch, "train_group_size": group},
    )


def false(run: RunArtifacts) -> Finding | None:
    """Mined negatives that are relevant, as hidden positives or a cross-encoder show."""
    estimate, rescored = run.mining.get("hidden_positives"), run.mining.get("rescoring") or {}
    rate = rescored.get("rate_as_set")
    if rate is not None and rate > _BY_CROSS_ENCODER:
        evidence = f"the cross-encoder takes {percent(rate)} of the negatives for relevant"
        return _false(run, evidence, rate, "likely", {"rate_by_cross_encoder": rate})
    if not estimate or estimate["queries"] < _LEAST_QUERIES:
        return None
    rate = estimate["rate_as_set"]
    least, _ = share_bounds(rate * estimate["queries"], estimate["queries"])
    if least <= _FALSE:
        return None
    evidence = (
        f"of {estimate['queries']:,} positives that were hidden for a test, mining picks {percent(rate)} as negatives "
        "(the defaults on MedQuAD: 26 %): relevant passages that nobody labelled are trained away"
    )
    return _false(
        run, evidence, rate, "likely" if least > _MANY_FALSE else "possible", {"rate_of_hidden_positives": rate}
    )


def _false(run: RunArtifacts, evidence: str, rate: float, sure: str, figures: dict[str, float]) -> Finding:
    margin = run.mining.get("settings", {}).get("relative_margin")
    wanted = 0.05 if not margin else min(0.3, 2 * margin)
    return Finding(
        "false negatives",
        evidence,
        sure,  # type: ignore[arg-type]
        min(0.95, 0.4 + rate / 2),
        "harm",
        (Change("mining.relative_margin", f"{wanted:g}"), Change("training.false_negative_margin", "0.1")),
        {**figures, "relative_margin": margin},
        "a cross-encoder as mining.rescoring_model sorts them out best",
    )


def easy(run: RunArtifacts) -> Finding | None:
    """Negatives that any model tells from the positives: mostly drawn at random, or a loss of nearly 0 at the start."""
    first, count = run.training.get("first_loss"), run.training.get("negatives_per_query") or 0
    picked = run.mining.get("picked_by", {})
    total, drawn = sum(picked.values()), run.mining.get("topped_up", {}).get("at_random", 0)
    of_group = run.training.get("random_negatives_per_query") or 0.0
    if total and drawn / total > _RANDOM:
        evidence = f"{drawn:,} of {total:,} negatives were drawn at random, as the rules left too few mined ones"
        changes = (Change("mining.relative_margin", "0.02"), Change("mining.range_for_sampling", "0-400"))
    elif not run.mining and of_group > 0.5:
        evidence = f"nothing was mined: {of_group:.1f} negatives of a query's group are random passages"
        changes = (Change("mining.enabled", "true"),)
    elif first is not None and count and run.training.get("loss") in _CONTRASTIVE and _nothing(first, count):
        evidence = (
            f"the loss is {first:.4f} at the first step (by chance {math.log1p(count):.2f}): nothing is left to learn"
        )
        changes = (Change("mining.range_for_sampling", "0-50"), Change("training.train_batch_size", "256"))
    else:
        return None
    figures = {"drawn_at_random": drawn, "negatives": total, "first_loss": first}
    return Finding("negatives that are too easy", evidence, "possible", 0.5, "limit", changes, figures)


def hard(run: RunArtifacts) -> Finding | None:
    """Negatives that score as high as positives do, which no margin keeps out."""
    positives, negatives = run.mining.get("positive_scores"), run.mining.get("negative_scores")
    if not positives or not negatives:
        return None
    above = share_above(negatives, positives)
    if not above > _OVERLAP:
        return None
    margin = run.mining["settings"].get("relative_margin")
    return Finding(
        "negatives that are too hard",
        f"a mined negative scores above a positive in {percent(above)} of all pairs (usual with a margin: 28 to 33 %)",
        "possible",
        0.6,
        "harm",
        (Change("mining.relative_margin", "0.05" if not margin else f"{min(0.3, 2 * margin):g}"),)
        + (
            (Change("mining.range_for_sampling", "10-210"),)
            if run.mining.get("range_used", "").startswith("0-")
            else ()
        ),
        {"negative_above_positive": above, "relative_margin": margin},
    )


def _nothing(first: float, count: float) -> bool:
    return first < _NOTHING_TO_LEARN * math.log1p(count)


def _searches(run: RunArtifacts) -> bool:
    """Whether retrieval is among what was learned; other tasks have other contrasts."""
    tasks = run.training.get("tasks", [])
    return not tasks or any(task.get("task_type") == "retrieval" for task in tasks)
