"""What to tell when a loss or gradient is no longer a finite number."""

from __future__ import annotations

import torch
from torch import Tensor

from sharpen.errors import StepFailed
from sharpen.losses.contrastive import BLOCK_ENTRIES
from sharpen.training.data.collator import ShardedBatch
from sharpen.training.data.examples import Examples
from sharpen.training.gradient.step import Step

SHOWN = 3
# Characters of a text that are shown.
BEGINNING = 60
ADVICE = "raise temperature, lower learning_rate, or filter the negatives; no weights were changed by this step"


class DivergenceError(StepFailed):
    """A loss or gradient was not finite; the weights are those before the step.

    Args:
        step: number of the step, from 1.
        reason: what was not finite.
        cause: the texts or pairs to look at.
        advice: what to do.
    """

    def __init__(self, step: int, reason: str, cause: str, advice: str = ADVICE) -> None:
        super().__init__(f"training diverged at step {step} ({reason}): {cause}; {advice}")
        self.step, self.reason = step, reason


def check_finite(step: Step, gradient_norm: float, layout: ShardedBatch, examples: Examples) -> None:
    """Raise `DivergenceError` before the optimiser moves when the loss or the gradient is not finite.

    Args:
        step: what the step gave.
        gradient_norm: norm of the whole gradient.
        layout: the step's texts, for the names of the extreme pairs.
        examples: ids of queries and passages.
    """
    if torch.isfinite(torch.tensor([step.loss, gradient_norm])).all():
        return
    what = f"loss {step.loss}, gradient norm {gradient_norm}"
    raise DivergenceError(layout.batch.step + 1, what, extremes(step, layout, examples))


def extremes(step: Step, layout: ShardedBatch, examples: Examples) -> str:
    """Texts of a `step` with non-finite embeddings, else its most extreme pairs, by `layout` named as in `examples`.

    Pairs are those that some process contrasts: every query with every passage where there are in-batch negatives,
    else a query with its own group.
    """
    bad = (~torch.isfinite(step.embeddings).all(dim=1)).nonzero().squeeze(1).tolist()
    if bad:
        names = [_name(index, layout, examples) for index in bad[:SHOWN]]
        return f"{len(bad)} of {len(step.embeddings)} embeddings are not finite, such as {', '.join(names)}"
    pairs = [
        f"{_name(query, layout, examples)} with {_name(text, layout, examples)} ({score:.3g})"
        for query, text, score in _most_extreme(step.embeddings, layout)
    ]
    return f"most extreme scores: {', '.join(pairs)}"


def _most_extreme(embeddings: Tensor, layout: ShardedBatch) -> list[tuple[int, int, float]]:
    """(row of the query, row of the text, score) of the pairs with the largest scores, by their absolute value."""
    extreme_pairs: list[tuple[int, int, float]] = []
    queries, texts = (rows[layout.in_batch].unique() for rows in (layout.query_of, layout.text_of))
    for block in queries.split(max(1, BLOCK_ENTRIES // max(1, len(texts)))):
        scores = embeddings[block] @ embeddings[texts].T
        extreme_pairs += [
            (int(block[index // len(texts)]), int(texts[index % len(texts)]), float(scores.flatten()[index]))
            for index in _largest(scores)
        ]
    queries, texts = layout.query_of[~layout.in_batch], layout.text_of[~layout.in_batch]
    group = layout.text_of.shape[1]
    step = max(1, BLOCK_ENTRIES // (group * embeddings.shape[1]))
    for block, group_rows in zip(queries.split(step), texts.split(step), strict=True):
        scores = torch.einsum("bd,bgd->bg", embeddings[block], embeddings[group_rows])
        extreme_pairs += [
            (int(block[index // group]), int(group_rows.flatten()[index]), float(scores.flatten()[index]))
            for index in _largest(scores)
        ]
    return sorted(set(extreme_pairs), key=lambda pair: -abs(pair[2]))[:SHOWN]


def _largest(scores: Tensor) -> list[int]:
    return scores.abs().flatten().topk(min(SHOWN, scores.numel())).indices.tolist()


def _name(row: int, layout: ShardedBatch, examples: Examples) -> str:
    """A text by its kind, id and beginning."""
    if row < len(layout.queries):
        number = int(layout.queries[row])
        kind, name, text = "query", examples.query_ids[number], examples.queries[number]
    else:
        number = int(layout.texts[row - len(layout.queries)])
        kind, name, text = "passage", examples.text_ids[number], examples.texts[number]
    words = " ".join(text.split())
    return f'{kind} {name} "{words if len(words) <= BEGINNING else words[: BEGINNING - 1] + "…"}"'
