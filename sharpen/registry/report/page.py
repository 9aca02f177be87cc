"""How a run ended, as HTML: gains, verdict and reasons, addresses, what to do next; of a failure the step and cause."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sharpen.models.model_usage import usage_rows
from sharpen.registry.gate import PROMOTE, REJECT, Decision
from sharpen.registry.gate.evaluation_summary import BASE, EvaluationSummary
from sharpen.registry.outcome import Outcome
from sharpen.reports.formatting import interval, label, number, p_text, signed
from sharpen.reports.gains import gain_tables
from sharpen.reports.gate_section import rule_rows
from sharpen.reports.html_page import templates

SECONDARY_METRICS = ("mrr_at_10", "recall_at_10", "recall_at_100")
"""Metrics among the headline figures, beside the one that decides."""

SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"


@dataclass(frozen=True)
class RunEnd:
    """The end of a run on a cluster.

    Attributes:
        run: what Kubeflow calls the run.
        state: ``succeeded``, ``failed`` or ``cancelled``.
        step, lines: the step that failed, and why, a line each; empty where it is not known.
        notes: what else there is to say, such as jobs that were still there.
        commands: what to do next.
    """

    run: str
    state: str
    step: str = ""
    lines: Sequence[str] = ()
    notes: Sequence[str] = ()
    commands: Sequence[str] = ()

    @property
    def sentence(self) -> str:
        """State and step, in words."""
        return f"{self.state} in step {self.step}" if self.step else self.state


@dataclass(frozen=True)
class _Headline:
    tone: str
    sentence: str
    evidence: str = ""
    reasons: Sequence[str] = field(default_factory=list)


def promotion_page(outcome: Outcome, store: str, decision: Decision, measured: EvaluationSummary) -> str:
    """The page of the step that decided: the outcome, each rule with its figures, and how each model was used.

    Args:
        outcome: what the run came to.
        store: root of the registry.
        decision, measured: the gate's decision, and what it was made by.
    """
    figures = decision.figures
    usages = {name: reference.facts.get("encoding") or {} for name, reference in measured.against.items()}
    usages["this model"] = measured.facts.get("encoding") or {}
    return _render(
        outcome,
        store,
        rules=rule_rows(decision.facts["rules"]),
        evidence=[
            ("test queries", f"{figures['queries']:,.0f}"),
            ("groups that they come from", f"{figures['groups']:,.0f}"),
            ("p of the randomisation test", p_text(figures["p_value"])),
            *((f"model: {name}", reference.model) for name, reference in measured.against.items()),
        ],
        usages=(list(usages), usage_rows(usages)),
    )


def headline_metrics(outcome: Outcome, measured: EvaluationSummary) -> dict[str, float]:
    """About a dozen figures by which runs are compared in Kubeflow's UI, rounded, under the names that people use."""
    found = {"promoted": float(outcome.verdict == PROMOTE)}
    for name, (main, *others) in outcome.gains.items():
        over, metric = "" if name == BASE else f" over the {name}", label(main.metric)
        found |= {metric: main.candidate, f"{metric} gain{over}": main.difference, "test queries": main.queries}
        if name == BASE:
            found |= {f"{metric} gain, low": main.ci_low, f"{metric} gain, high": main.ci_high}
            for gain in others:
                if gain.metric in SECONDARY_METRICS:
                    found |= {label(gain.metric): gain.candidate, f"{label(gain.metric)} gain": gain.difference}
    on_dev = measured.dev.get("metrics", {})
    if outcome.metric in on_dev:
        found[f"{label(outcome.metric)} on dev"] = on_dev[outcome.metric]
    return {name: round(value, 4) for name, value in found.items()}


def run_page(end: RunEnd, name: str, outcome: Outcome | None, store: str) -> str:
    """The summary of a run, whatever became of it.

    Args:
        end: how Kubeflow saw it end.
        name: of the model.
        outcome: what it came to; None where it did not come so far.
        store: root of the registry.
    """
    headlines = [] if end.state == SUCCEEDED and outcome else [_headline_of_end(end)]
    if outcome is None:
        return _page(title=name, run=end.run, headlines=headlines, commands=end.commands)
    return _render(outcome, store, run=end.run, before=headlines, commands=end.commands or None)


def _render(
    outcome: Outcome,
    store: str,
    *,
    before: Sequence[_Headline] = (),
    commands: Sequence[str] | None = None,
    **parts: Any,
) -> str:
    compared = {
        name: [(gain.metric, asdict(gain), f"{gain.wins:,}/{gain.losses:,}") for gain in gains]
        for name, gains in outcome.gains.items()
    }
    addresses = {
        "model": outcome.version,
        "champion": outcome.champion if outcome.champion != outcome.version else "",
        "report": outcome.report,
        "training logs": outcome.logs,
    }
    return _page(
        title=outcome.model_name,
        headlines=[*before, _headline(outcome)],
        gains=gain_tables(compared),
        level=outcome.level,
        notes=outcome.notes,
        addresses=[(what, address) for what, address in addresses.items() if address],
        commands=commands or [f"sharpen {command}" for command in outcome.commands(store, "submit")],
        at=f"{datetime.fromisoformat(outcome.at):%Y-%m-%d %H:%M} UTC",
        **parts,
    )


def _page(**parts: Any) -> str:
    absent: dict[str, Any] = dict.fromkeys(("run", "at"), "")
    absent |= {name: [] for name in ("gains", "notes", "addresses", "commands", "rules", "evidence", "usages")}
    template = templates(Path(__file__).parent).get_template("page.html.j2")
    return template.render(**{**absent, "level": "", **parts})


def _headline(outcome: Outcome) -> _Headline:
    evidence = []
    for name, (main, *_) in outcome.gains.items():
        evidence.append(
            f"{label(main.metric)} {number(main.reference)} → {number(main.candidate)} against the {name}: "
            f"{signed(main.difference)}, {outcome.level} interval {interval(main.ci_low, main.ci_high)}, "
            f"{main.queries:,} test queries"
        )
    tone = {PROMOTE: "level" if outcome.unchanged else "up", REJECT: "down"}.get(outcome.verdict, "level")
    return _Headline(tone, _capitalised(outcome.headline), "; ".join(evidence), outcome.reasons)


def _headline_of_end(end: RunEnd) -> _Headline:
    return _Headline(
        "down" if end.state == FAILED else "level", _capitalised(end.sentence), "", [*end.lines, *end.notes]
    )


def _capitalised(sentence: str) -> str:
    # a version keeps its name
    return sentence if re.match(r"v\d", sentence) else sentence[:1].upper() + sentence[1:]
