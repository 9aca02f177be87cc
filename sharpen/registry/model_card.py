"""What a promotion adds to a model's card: results with intervals, slices, guard set, and how the run is repeated."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from sharpen.markdown import code_span, escaped, split_front_matter, with_front_matter
from sharpen.registry.gate import Decision
from sharpen.registry.gate.evaluation_summary import BASE, EvaluationSummary, Reference
from sharpen.reports.formatting import label
from sharpen.store import storage

MOST_SLICES = 40
"""Rows of the table of slices; the report has all."""


def promoted_card(
    card: str, *, name: str, model: str, decision: Decision, measured: EvaluationSummary, run_settings: str = ""
) -> str:
    """The card of a promoted model: that of its training, with results in the metadata and in words.

    Args:
        card: the model's README.md; empty where it has none.
        name, model: its name in the registry, and its address before that.
        decision: the gate's.
        measured: the evaluation that it decided about.
        run_settings: what the user set for the run, as JSON.
    """
    head, body = split_front_matter(card or f"# {escaped(name)}\n")
    head |= {"metrics": sorted(measured.metrics), "model-index": model_index(name, measured)}
    sections = {
        "Results": list(_results(decision, measured)),
        "Results by slice": _slices(measured, decision),
        "Guard set": _guard(measured, decision),
        "What the results do not say": list(_caveats(measured)),
        "How to repeat the run": _repetition(name, model, measured, run_settings),
    }
    lines = [body.rstrip()]
    for heading, section in sections.items():
        if section:
            lines += ["", f"## {heading}", "", *section]
    return with_front_matter(head, "\n".join(lines) + "\n")


def model_index(name: str, measured: EvaluationSummary) -> list[dict[str, Any]]:
    """``model-index`` of the metadata, as the hub reads it: every metric on the test queries.

    https://github.com/huggingface/hub-docs/blob/main/modelcard.md
    """
    facts = measured.facts
    split = str(facts.get("split", "test"))
    dataset = {
        "type": "custom",
        "name": f"{split} queries of the training run's data",
        "split": split,
        "revision": str(facts["data_fingerprint"]),
    }
    metrics = [
        {"type": metric, "name": label(metric), "value": round(value, 6)}
        for metric, value in measured.metrics.items()
        if math.isfinite(value)
    ]
    task = {"type": "information-retrieval", "name": "Information Retrieval"}
    return [{"name": name, "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}]


def _results(decision: Decision, measured: EvaluationSummary) -> Iterator[str]:
    yield "Means over the test queries; the interval is that of the difference."
    for name, reference in measured.against.items():
        yield ""
        yield from _comparison(name, reference, measured)
    yield from ("", "Promoted because:", "", *(f"- {escaped(reason)}" for reason in decision.reasons))


def _comparison(name: str, reference: Reference, measured: EvaluationSummary) -> Iterator[str]:
    yield f"| metric | {escaped(name)} | this model | difference | {_level(measured)} |"
    yield "|---|---:|---:|---:|---:|"
    for metric, figures in reference.metrics.items():
        values = f"{figures['reference']:.4f} | {figures['candidate']:.4f} | {figures['difference']:+.4f}"
        yield f"| {label(metric)} | {values} | {_interval(figures)} |"


def _slices(measured: EvaluationSummary, decision: Decision) -> list[str]:
    found = measured.slices or []
    against, metric = str(decision.facts.get("against", BASE)), str(decision.facts.get("metric", ""))
    rows = []
    for one in sorted(found, key=lambda one: (str(one["field"]), -one["queries"], str(one["value"])))[:MOST_SLICES]:
        figures = one.get("against", {}).get(against, {}).get(metric)
        value = one.get("metrics", {}).get(metric)
        score = "not measured" if value is None else f"{value:.4f}"
        difference = f"{figures['difference']:+.4f} | {_interval(figures)}" if figures else "not measured | "
        what = f"{escaped(one['field'])}: {escaped(one['value'] or 'not stated')}"
        rows.append(f"| {what} | {one['queries']:,} | {score} | {difference} |")
    if not rows:
        return []
    more = [f"{len(found) - len(rows):,} more in the report.", ""] if len(found) > len(rows) else []
    header = f"| slice | queries | {label(metric)} | difference from the {against} | {_level(measured)} |"
    return [*more, header, "|---|---:|---:|---:|---:|", *rows]


def _guard(measured: EvaluationSummary, decision: Decision) -> list[str]:
    found = measured.guard or {}
    against = found.get("against", {}).get(str(decision.facts.get("against", BASE))) or {}
    if not found.get("queries"):
        return []
    rows = [
        f"| {label(metric)} | {figures['reference']:.4f} | {figures['candidate']:.4f} | {figures['difference']:+.4f} | "
        f"{_interval(figures)} |"
        for metric, figures in against.items()
    ]
    intro = (
        f"{found['queries']:,} queries of {escaped(found.get('name', 'the guard set'))}, which it was not tuned for."
    )
    header = f"| metric | {decision.facts.get('against', BASE)} | this model | difference | {_level(measured)} |"
    return [intro, "", header, "|---|---:|---:|---:|---:|", *rows] if rows else [intro]


def _caveats(measured: EvaluationSummary) -> Iterator[str]:
    facts = measured.facts
    queries = next((int(r.metrics[m]["queries"]) for r in measured.against.values() for m in r.metrics), 0)
    groups = facts.get("groups")
    of = f" of {int(groups):,} groups" if groups else ""
    split = escaped(facts.get("split", "test"))
    yield f"- They are of {queries:,} {split} queries{of}, from the data that it was trained on."
    yield "- A passage that nobody judged counts as not relevant, so that the true figures are rather higher."
    if out := facts.get("queries_left_out"):
        yield f"- {int(out):,} test queries are left out, since a champion was trained on them."
    if not (measured.guard or {}).get("queries"):
        yield "- No guard set was measured: whether it has forgotten something of other subjects is not known."
    if not measured.slices:
        yield "- No slices were measured: the mean may hide a group of queries that became worse."


def _repetition(name: str, model: str, measured: EvaluationSummary, run_settings: str) -> list[str]:
    """The command and the file of settings that repeat the run; none where its data are not known."""
    training_file = storage.join(model, "training.json")
    training = storage.read_json(training_file) if storage.exists(training_file) else {}
    sources = (training.get("data_facts") or {}).get("sources") or []
    addresses = {role: [one["address"] for one in sources if one.get("role") == role] for role in ("train", "eval")}
    if not addresses["train"]:
        return []
    base = measured.against[BASE].model if BASE in measured.against else training.get("base_model", "")
    settings = {
        "model_name": name,
        "train_data": ",".join(addresses["train"]),
        **({"eval_data": ",".join(addresses["eval"])} if addresses["eval"] else {}),
        "base_model": base,
        **json.loads(run_settings or "{}"),
    }
    written = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).rstrip()
    # a fence that no line of the settings can close
    fence = "`" * max(3, 1 + max((len(part) for part in written.split() if set(part) == {"`"}), default=0))
    return [
        f"{code_span('sharpen run --config run.yaml')}, with this as `run.yaml`:",
        "",
        f"{fence}yaml",
        written,
        fence,
    ]


def _level(measured: EvaluationSummary) -> str:
    return f"{100 * measured.confidence_level:g} % interval"


def _interval(figures: Mapping[str, Any]) -> str:
    low, high = figures.get("ci_low"), figures.get("ci_high")
    return "not measured" if low is None or high is None else f"{low:+.4f} ... {high:+.4f}"
