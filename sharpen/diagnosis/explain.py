"""All causes of a run, the likeliest and heaviest first, with a headline."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sharpen.diagnosis.artifacts import BASE, CHAMPION, RunArtifacts, read_artifacts
from sharpen.diagnosis.causes import data, labels, measurement, negatives, prompts, teachers, training
from sharpen.diagnosis.finding import Finding
from sharpen.reports.formatting import label

CAUSES = (
    *(data.leaks, data.cut_passages, data.cut_queries, data.few_training_queries, data.other_language),
    *(data.other_lengths, data.unseen_source),
    *(labels.wrong_positives, labels.conflicts, labels.duplicates),
    *(negatives.few, negatives.false, negatives.easy, negatives.hard, teachers.doubtful),
    *(training.softened, training.collapsed, training.rising_loss, training.base_was_best, training.low_rate),
    *(training.few_steps, training.overfitted, training.temperature, training.not_watched),
    *(measurement.too_few_queries, measurement.only_the_base, measurement.forgetting),
    *(measurement.unjudged, measurement.synthetic),
    *(measurement.worse_parts, measurement.worse_tasks),
    *(prompts.foreign_query_prompt, prompts.missing_prompt, prompts.doubled_prompt),
)
"""Every cause that is looked for."""

KINDS = {
    "harm": "Likely causes",
    "doubt": "What makes the figures doubtful",
    "limit": "What limits it now",
}
"""Kinds of findings in the order in which they are shown -> their heading."""

NOTHING = "Nothing is wrong that these artifacts could show."
"""What is said where nothing harms the model or makes its figures doubtful."""


@dataclass(frozen=True)
class Explanation:
    """What a run's artifacts say.

    Attributes:
        headline: how the model compares, in one sentence.
        findings: the likeliest and heaviest first; those that harm a model before those that limit it.
        missing: artifacts that could not be read, so that their causes could not be looked for.
        figures: metric, both means, difference and its interval, against the base model and the champion.
    """

    headline: str
    findings: list[Finding]
    missing: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def of(self, *kinds: str) -> list[Finding]:
        """The findings of some kinds."""
        return [one for one in self.findings if one.kind in kinds]

    def as_json(self) -> dict[str, Any]:
        """For programs; each finding with the command that tries its changes."""
        return asdict(self) | {"findings": [asdict(one) | {"command": one.command} for one in self.findings]}


def explain(run: RunArtifacts) -> Explanation:
    """Look for every cause. What harms a model that is better all the same only limits it."""
    found = [finding for cause in CAUSES if (finding := cause(run)) is not None]
    if run.is_better:
        found = [replace(one, kind="limit") if one.kind == "harm" else one for one in found]
    found.sort(key=lambda one: (one.kind == "limit", -one.rank, one.cause))
    figures = {name: run.against(name) for name in (BASE, CHAMPION) if run.against(name)}
    return Explanation(_headline(run), found, run.missing, {"metric": run.metric, **figures})


def explain_evaluation(evaluation: str) -> Explanation:
    """`explain` of the run that made an evaluation. Raises InputError where there is none."""
    return explain(read_artifacts(evaluation))


def _headline(run: RunArtifacts) -> str:
    lines = []
    for name, called in ((BASE, "the base model"), (CHAMPION, "the champion")):
        found = run.against(name)
        if not found:
            continue
        verdict = (
            "better than" if found["ci_low"] > 0 else "worse than" if found["ci_high"] < 0 else "no different from"
        )
        level = f"{100 * run.comparison.get('confidence_level', 0.95):g} %"
        lines.append(
            f"{verdict} {called}: {label(run.metric)} {found['reference']:.3f} -> {found['candidate']:.3f} "
            f"({found['difference']:+.3f}, {level} interval {found['ci_low']:+.3f} ... {found['ci_high']:+.3f}, "
            f"{int(found['queries']):,} queries)"
        )
    if not lines:
        return f"The model was compared with no other; {label(run.metric)} is {run.metrics.get(run.metric, 0.0):.3f}."
    return f"The model is {'; and '.join(lines)}."
