"""What to tell when a loss or gradient is no longer a finite number."""

from __future__ import annotations

import torch

from components.core.errors import StepFailed
from components.finetuning.examples import Examples
from components.finetuning.layout import Layout
from components.finetuning.step import Step

SHOWN = 3
ADVICE = "raise temperature, lower learning_rate, or filter the negatives; no weights were changed by this step"


class Diverged(StepFailed):
    """A loss or gradient was not finite; the weights are those before the step.

    Args:
        step: number of the step, from 1.
        reason: what was not finite.
        cause: the texts or pairs to look at.
    """

    def __init__(self, step: int, reason: str, cause: str) -> None:
        super().__init__(f"training diverged at step {step} ({reason}): {cause}; {ADVICE}")
        self.step, self.reason = step, reason


def check_finite(step: Step, gradient_norm: float, layout: Layout, examples: Examples) -> None:
    """Raise `Diverged` before the optimiser moves when the loss or the gradient is not finite.

    Args:
        step: what the step gave.
        gradient_norm: norm of the whole gradient.
        layout: the step's texts, for the names of the extreme pairs.
        examples: ids of queries and passages.
    """
    if torch.isfinite(torch.tensor([step.loss, gradient_norm])).all():
        return
    what = f"loss {step.loss}, gradient norm {gradient_norm}"
    raise Diverged(layout.batch.step + 1, what, extremes(step, layout, examples))


def extremes(step: Step, layout: Layout, examples: Examples) -> str:
    """The texts whose embeddings are not finite, or else the pairs of this process with the most extreme scores."""
    bad = (~torch.isfinite(step.embeddings).all(dim=1)).nonzero().squeeze(1).tolist()
    queries = len(layout.queries)
    if bad:
        names = [
            f"query {examples.query_ids[int(layout.queries[row])]}"
            if row < queries
            else f"passage {examples.text_ids[int(layout.texts[row - queries])]}"
            for row in bad[:SHOWN]
        ]
        return f"{len(bad)} of {len(step.embeddings)} embeddings are not finite, such as {', '.join(names)}"
    scores = torch.einsum("bd,bgd->bg", step.embeddings[layout.query_of], step.embeddings[layout.text_of])
    worst = scores.abs().flatten().topk(min(SHOWN, scores.numel())).indices.tolist()
    group = scores.shape[1]
    pairs = []
    for place in worst:
        row = layout.first_row + place // group
        query, text = int(layout.batch.queries[row]), int(layout.batch.groups[row, place % group])
        score = scores.flatten()[place].item()
        pairs.append(f"query {examples.query_ids[query]} with passage {examples.text_ids[text]} ({score:.3g})")
    return f"most extreme scores: {', '.join(pairs)}"
