"""The results in the card of a promoted model."""

from __future__ import annotations

from sharpen.registry.evaluation_summary import EvaluationSummary, Reference
from sharpen.registry.gate import Decision
from sharpen.reports.formatting import label


def results_section(decision: Decision, measured: EvaluationSummary) -> str:
    """What is put at the end of a promoted model's card."""
    lines = ["## Results", "", "Means over the test queries; the interval is that of the difference."]
    for name, reference in measured.against.items():
        lines += ["", *_table(name, reference, measured)]
    lines += ["", "Promoted because:", "", *(f"- {reason}" for reason in decision.reasons)]
    return "\n".join(lines) + "\n"


def _table(name: str, reference: Reference, measured: EvaluationSummary) -> list[str]:
    level = f"{100 * measured.confidence_level:g} % interval"
    lines = [f"| metric | {name} | this model | difference | {level} |", "|---|---:|---:|---:|---:|"]
    for metric, figures in reference.metrics.items():
        interval = f"{figures['ci_low']:+.4f} ... {figures['ci_high']:+.4f}"
        values = f"{figures['reference']:.4f} | {figures['candidate']:.4f} | {figures['difference']:+.4f}"
        lines.append(f"| {label(metric)} | {values} | {interval} |")
    return lines
