"""What people read of a decision: the gate's page, and the results in the model card."""

from __future__ import annotations

import json
from dataclasses import asdict

from sharpen.markdown import code_span, escaped
from sharpen.models.model_usage import usage_rows
from sharpen.registry.evaluation_summary import EvaluationSummary, Reference
from sharpen.registry.gate import Decision

MANY = 10
"""Decisions of one test set from which on people are warned."""


def decision_page(decision: Decision, measured: EvaluationSummary, earlier: int = 0) -> str:
    """The decision as Markdown: verdict, each rule, what it rests on, and the figures against every reference.

    Args:
        decision, measured: the decision and its evaluation.
        earlier: how often the test set has decided before.
    """
    lines = [f"## {decision.verdict}", ""]
    lines += [f"- {'✓' if rule['holds'] else '✗'} {rule['text']}" for rule in decision.facts["rules"].values()]
    lines += ["", *evidence_lines(decision, measured, earlier)]
    for name, reference in measured.against.items():
        table = _table(name, reference, measured)
        lines += ["", f"### Against the {name}", "", code_span(reference.model), "", *table]
    return "\n".join([*lines, "", "### How each model was used", "", *_usage_table(measured)]) + "\n"


def decision_record(decision: Decision, evaluation: str) -> str:
    """gate.json: the decision for programs, with the settings by which each side was measured."""
    values = {"evaluation": evaluation, **asdict(decision)}
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _usage_table(measured: EvaluationSummary) -> list[str]:
    usages = {name: reference.facts.get("encoding") or {} for name, reference in measured.against.items()}
    usages["this model"] = measured.facts.get("encoding") or {}
    lines = [f"| setting | {' | '.join(usages)} |", "|---" * (len(usages) + 1) + "|"]
    return lines + [f"| {name} | {' | '.join(map(escaped, values))} |" for name, values in usage_rows(usages)]


def evidence_lines(decision: Decision, measured: EvaluationSummary, earlier: int) -> list[str]:
    """What a decision rests on, as a Markdown table, and a warning where the test set has decided often."""
    figures, metric = decision.figures, decision.facts["metric"]
    level = f"{100 * measured.confidence_level:g} %"
    rows = [
        ("test queries", f"{figures['queries']:,.0f}"),
        ("groups that they come from", f"{figures['groups']:,.0f}"),
        (
            f"{level} interval of the gain in {metric}",
            f"{figures['gain_ci_low']:+.4f} ... {figures['gain_ci_high']:+.4f}",
        ),
        ("p of the randomisation test", f"{figures['p_value']:.4f}"),
        ("left out, as a champion was trained on them", f"{measured.facts.get('queries_left_out', 0):,} queries"),
        ("earlier decisions on this test set", f"{earlier:,}"),
    ]
    if measured.dev.get("queries") and metric in measured.dev["metrics"]:
        on_dev = measured.dev["metrics"][metric]
        rows.append((f"{metric} on dev, to compare runs by", f"{on_dev:.4f} ({measured.dev['queries']:,} queries)"))
    else:
        rows.append((f"{metric} on dev, to compare runs by", "not measured: the data have no dev split"))
    lines = ["| | |", "|---|---:|", *(f"| {what} | {value} |" for what, value in rows)]
    if earlier >= MANY:
        lines += ["", often(earlier)]
    return lines


def often(earlier: int) -> str:
    """The warning about a test set that has decided often."""
    return (
        f"This test set has decided {earlier:,} times. Whoever wins often enough on the same queries is partly lucky: "
        "the champion's figure here is above its true one. Bring fresh test queries as eval_data."
    )


def results_section(decision: Decision, measured: EvaluationSummary) -> str:
    """What is put at the end of a promoted model's card."""
    lines = ["## Results", "", "Means over the test queries; the interval is that of the difference."]
    for name, reference in measured.against.items():
        lines += ["", *_table(name, reference, measured)]
    lines += ["", "Promoted because:", "", *(f"- {reason}" for reason in decision.reasons)]
    return "\n".join(lines) + "\n"


def promotion_page(ended: str, reason: str, version: str, name: str, root: str) -> str:
    """How a promotion ended, and how a promoted model is fetched or taken back, as Markdown for the UI.

    Args:
        ended: in a word or two.
        reason: in a line.
        version: address of the version that was promoted; empty for none.
        name, root: of the model and of the registry.
    """
    lines = [f"## {name}: {ended}", "", reason]
    if version:
        number = version.partition("?")[0].rpartition("/")[2]
        lines = [f"## {name}: {number} is promoted", "", reason, "", f"`{version}`", "", "```"]
        lines += [f"sharpen models pull {name} --store {root}", f"sharpen models rollback {name} --store {root}", "```"]
    return "\n".join(lines) + "\n"


def end_page(name: str, end: str, run: str, fault: str, deleted_jobs: list[str]) -> str:
    """How a run ended, as Markdown.

    Args:
        name: of the model.
        end: in words.
        run: what Kubeflow calls the run.
        fault: what Kubeflow says of a failure; empty for none.
        deleted_jobs: training jobs that went on and were deleted.
    """
    lines = [f"## {escaped(name)}: {escaped(end)}", f"Run {code_span(run)}"]
    lines += [escaped(fault)] if fault else []
    jobs = [f"- training job {code_span(job)} was still there and was deleted" for job in deleted_jobs]
    return "\n\n".join([*lines, "\n".join(jobs)]).strip() + "\n"


def _table(name: str, reference: Reference, measured: EvaluationSummary) -> list[str]:
    level = f"{100 * measured.confidence_level:g} % interval"
    lines = [f"| metric | {name} | this model | difference | {level} |", "|---|---:|---:|---:|---:|"]
    for metric, figures in reference.metrics.items():
        interval = f"{figures['ci_low']:+.4f} ... {figures['ci_high']:+.4f}"
        values = f"{figures['reference']:.4f} | {figures['candidate']:.4f} | {figures['difference']:+.4f}"
        lines.append(f"| {metric} | {values} | {interval} |")
    return lines
