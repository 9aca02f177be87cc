"""What people read of a decision: the gate's page, and the results in the model card."""

from __future__ import annotations

from pathlib import Path

from components.promotion.gate import Decision
from components.promotion.measured import Measured, Reference


def decision_page(decision: Decision, measured: Measured) -> str:
    """The decision as Markdown: verdict, each rule, and the figures against every reference."""
    lines = [f"## {decision.verdict}", ""]
    lines += [f"- {'✓' if rule['holds'] else '✗'} {rule['text']}" for rule in decision.facts["rules"].values()]
    for name, reference in measured.against.items():
        lines += ["", f"### Against the {name}", "", f"`{reference.model}`", "", *_table(name, reference, measured)]
    return "\n".join(lines) + "\n"


def results_section(decision: Decision, measured: Measured) -> str:
    """What is put at the end of a promoted model's card."""
    lines = ["## Results", "", "Means over the test queries; the interval is that of the difference."]
    for name, reference in measured.against.items():
        lines += ["", *_table(name, reference, measured)]
    lines += ["", "Promoted because:", "", *(f"- {reason}" for reason in decision.reasons)]
    return "\n".join(lines) + "\n"


def write_promotion_page(path: str, address: str, name: str, root: str) -> None:
    """Write where a promoted model is, and how it is fetched or taken back, as Markdown for the UI.

    Args:
        path: of the file to write.
        address: of the registered version; empty on a dry run.
        name, root: of the model and of the registry.
    """
    lines = ["Dry run: the gate passed, nothing was promoted."]
    if address:
        lines = [f"## {name}: {address.rpartition('/')[2]} is the champion", "", f"`{address}`", "", "```"]
        lines += [f"sharpen models pull {name} --store {root}", f"sharpen models rollback {name} --store {root}", "```"]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(name: str, reference: Reference, measured: Measured) -> list[str]:
    level = f"{100 * measured.confidence_level:g} % interval"
    lines = [f"| metric | {name} | this model | difference | {level} |", "|---|---:|---:|---:|---:|"]
    for metric, figures in reference.metrics.items():
        interval = f"{figures['ci_low']:+.4f} ... {figures['ci_high']:+.4f}"
        values = f"{figures['reference']:.4f} | {figures['candidate']:.4f} | {figures['difference']:+.4f}"
        lines.append(f"| {metric} | {values} | {interval} |")
    return lines
