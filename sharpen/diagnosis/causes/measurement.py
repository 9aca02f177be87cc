"""Causes in the measuring: what the test cannot tell, what it counts wrongly, and where a mean hides a loss."""

from __future__ import annotations

from math import ceil

from sharpen.diagnosis.artifacts import BASE, CHAMPION, RunArtifacts
from sharpen.diagnosis.finding import Change, Finding
from sharpen.reports.formatting import label, percent

# a gain that people care for
_SMALL_GAIN = 0.01
_FEW_GROUPS = 30
_UNJUDGED = 0.3
_DEPTH = 10


def too_few_queries(run: RunArtifacts) -> Finding | None:
    """An interval that holds 0: the test can neither show a gain nor a loss of this size."""
    name = next((name for name in (CHAMPION, BASE) if run.against(name)), "")
    found = run.against(name) if name else {}
    if not found or not found["ci_low"] <= 0 <= found["ci_high"] or found["ci_low"] == found["ci_high"] == 0:
        return None
    smallest, queries = (found["ci_high"] - found["ci_low"]) / 2, int(found["queries"])
    if smallest <= _SMALL_GAIN:
        return None
    needed = ceil(queries * (smallest / _SMALL_GAIN) ** 2)
    groups = int(found.get("groups", queries))
    grouped = f", of {groups:,} groups that vary together" if groups < queries else ""
    return Finding(
        "too few test queries to tell",
        f"{queries:,} queries{grouped} can show a difference of {smallest:.3f} in {label(run.metric)}; this one is "
        f"{found['difference']:+.3f} over the {'base model' if name == BASE else name}. To see {_SMALL_GAIN:g} takes "
        f"some {needed:,} queries",
        "certain",
        0.75 if queries < 100 or groups < _FEW_GROUPS else 0.5,
        "doubt",
        (Change("data.test_share", "0.2"),) if run.data.get("settings", {}).get("test_share", 1) < 0.2 else (),
        {"queries": queries, "groups": groups, "smallest_visible": smallest, "queries_needed": needed},
        "bring more judged queries as eval_data; queries of one group count as about one",
    )


def forgetting(run: RunArtifacts) -> Finding | None:
    """A guard set on which the model is worse than the base model."""
    found = run.guard.get("against", {}).get(BASE, {}).get(run.metric)
    if not found or found["ci_high"] >= 0:
        return None
    return Finding(
        "it forgets general search",
        f"on the guard set {run.guard['name']} ({int(found['queries']):,} queries) {label(run.metric)} fell by "
        f"{-found['difference']:.3f} (at least {-found['ci_high']:.3f})",
        "certain",
        min(0.9, 0.5 + 2 * -found["difference"]),
        "harm",
        (Change("training.learning_rate", f"{run.settings.get('learning_rate', 2e-5) / 2:g}"), *_of_merging(run)),
        {"difference": found["difference"], "ci_high": found["ci_high"], "queries": int(found["queries"])},
        "mix general data in as a second source of train_data; adapters (training.lora_rank) forget less",
    )


def _of_merging(run: RunArtifacts) -> tuple[Change, ...]:
    """What of merging forgets less; nothing where it was tried and cannot be."""
    if not run.merging:
        return (Change("merging.enabled", "true", "takes some of the way back to the base"),)
    if not run.merging.get("searched"):
        return ()
    return (Change("merging.max_guard_loss", "0", "takes more of the way back to the base"),)


def only_the_base(run: RunArtifacts) -> Finding | None:
    """Merging took weight 0: what was measured is the base model, whatever the training gained."""
    table = run.merging.get("searched") or []
    if not table or run.merging.get("weight") != 0:
        return None
    best = max(table, key=lambda row: row["dev"]["difference"])
    gain, change, limit = (
        *(best[part]["difference"] for part in ("dev", "guard")),
        run.merging["settings"]["max_guard_loss"],
    )
    if gain <= 0:
        return None
    return Finding(
        "merging took the base model itself",
        f"every weight that gains on dev loses more than {limit:g} {label(run.metric)} on the guard set "
        f"{run.merging['guard']['name']}: weight {best['weight']:g} gains {gain:.3f} and loses {-change:.3f}",
        "certain",
        0.9,
        "harm",
        (
            Change("merging.max_guard_loss", f"{max(-change, 0) + 0.005:.2f}", "if that may be forgotten"),
            Change("merging.enabled", "false", "the tuned model as it is"),
        ),
        {"gain": gain, "change": change, "max_guard_loss": limit},
        "name what must not be forgotten as evaluation.guard_data; the sample that comes with Sharpen is small",
    )


def unjudged(run: RunArtifacts) -> Finding | None:
    """New passages in the top 10 that nobody judged: they count as wrong, and perhaps are not.

    What a model loses of the relevant passages makes room for unjudged ones; only what comes on top of that counts.
    """
    here, before = (facts.get(f"unjudged_in_top_{_DEPTH}") for facts in (run.facts, run.base))
    queries, precision = run.facts.get("queries") or 0, run.against(BASE, f"precision_at_{_DEPTH}")
    if here is None or before is None or not queries or not precision:
        return None
    lost = -_DEPTH * precision["difference"]
    more = (here - before) / queries - max(0.0, lost)
    if more < _UNJUDGED:
        return None
    return Finding(
        "passages that nobody judged",
        f"the model brings {more:.1f} more unjudged passages into the top {_DEPTH} of a query than the base model, "
        f"beside the relevant ones that it lost ({percent(here / (_DEPTH * queries))} of them all); "
        "they count as wrong",
        "possible",
        0.6,
        "doubt",
        (Change("evaluation.judge_pairs", "200", "writes judge.csv"),),
        {"more_unjudged_a_query": more, "share_unjudged": here / (_DEPTH * queries)},
        "fill in judge.csv, and give it back as data.judgements",
    )


def synthetic(run: RunArtifacts) -> Finding | None:
    """Test queries that a language model wrote."""
    written = run.facts.get("generated_queries", 0)
    if not written:
        return None
    return Finding(
        "test queries that nobody asked",
        f"a language model wrote {written:,} of {run.facts['queries']:,} test queries; they say little about people's",
        "certain",
        0.5,
        "doubt",
        figures={"generated_queries": written, "queries": run.facts["queries"]},
        advice="bring some hundred questions of people as eval_data",
    )


def worse_parts(run: RunArtifacts) -> Finding | None:
    """A slice of the test queries that is worse than with the base model."""
    worse = []
    for part in run.slices:
        change = part.get("against", {}).get(BASE, {}).get(run.metric, {})
        # Holm's correction, as every further slice is one more chance to be wrong
        if change and change["difference"] < 0 and change.get("p_holm", change["p_value"]) < 0.05:
            worse.append((change["difference"], part))
    if not worse:
        return None
    worse.sort(key=lambda one: one[0])
    shown = ", ".join(f"{one['field']} {one['value']} {by:+.3f} ({one['queries']:,} queries)" for by, one in worse[:3])
    return Finding(
        "parts of the queries got worse",
        f"{len(worse)} of {len(run.slices)} slices: {shown}",
        "likely",
        0.5,
        "harm",
        figures={"worse": [{"field": one["field"], "value": one["value"], "difference": by} for by, one in worse]},
        advice="give such queries more weight (a source of their own with a weight in train_data), or more data",
    )


def worse_tasks(run: RunArtifacts) -> Finding | None:
    """Classification, clustering, similarity or reranking that got worse."""
    for task in run.tasks:
        for metric, change in task.get("against", {}).get(BASE, {}).items():
            if change["ci_high"] < 0:
                return Finding(
                    "another task got worse",
                    f"{task['task_type']} {task['name']}: {label(metric)} {change['reference']:.3f} -> "
                    f"{change['candidate']:.3f} ({task['texts']:,} texts)",
                    "likely",
                    0.5,
                    "harm",
                    figures={"task": task["name"], "metric": metric, "difference": change["difference"]},
                    advice="train on data of this task too: a source with its task_type in train_data",
                )
    return None
