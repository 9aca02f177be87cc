"""Causes in what was learned from teachers."""

from __future__ import annotations

from sharpen.diagnosis.artifacts import RunArtifacts
from sharpen.diagnosis.finding import Change, Finding
from sharpen.reports.formatting import percent


def doubtful(run: RunArtifacts) -> Finding | None:
    """A teacher that was learned from and finds many negatives as relevant as the positives."""
    found = run.mining.get("teachers", {})
    if not found.get("doubtful") or not run.settings.get("knowledge_distillation"):
        return None
    scored = found["above_positive"]["all"]
    names = ", ".join(facts.get("model", name) for name, facts in found["teachers"].items())
    return Finding(
        "a teacher that contradicts the labels",
        f"the teacher ({names}) scores {percent(scored['share'])} of the negatives no lower than a positive, and the "
        "model learned that (one as good as the tuned model, on tldr: 8 %)",
        "likely",
        0.8,
        "harm",
        (Change("training.knowledge_distillation", "false", "the labels alone"),),
        {"above_positive": scored["share"], "negatives": scored["negatives"]},
        "if the negatives on the teachers' page do answer their queries, labels are missing; else take another: "
        "evaluation.reranking_model measures a cross-encoder first",
    )
