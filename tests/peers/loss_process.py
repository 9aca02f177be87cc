"""The loss of one large batch of random vectors, in a process of its own: memory, seconds, and the gradient checked.

``python -m tests.peers.loss_process --queries N --passages M --dimension D`` prints one JSON object. Alone in its
process, because the high-water mark of resident memory only rises.
"""

from __future__ import annotations

import argparse
import json
import time

import psutil
import torch
from torch import Tensor

from sharpen.losses.contrastive import ContrastiveRows, LossConfig, loss_and_gradient
from tests.peers.loss_reference import Reference, reference
from tests.peers.memory import high_water

TEMPERATURE = 0.02


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--queries", type=int, required=True)
    parser.add_argument("--passages", type=int, required=True)
    parser.add_argument("--dimension", type=int, required=True)
    parser.add_argument("--sample", type=int, default=0, help="rows and columns that are checked; 0: none, -1: all")
    parser.add_argument("--seed", type=int, default=42)
    given = parser.parse_args()
    embeddings = vectors(given.queries + given.passages, given.dimension, given.seed)
    contrast = contrast_of(given.queries, given.passages)
    objective = LossConfig(TEMPERATURE)
    # the first product makes threads, buffers and code pages that have nothing to do with the size
    loss_and_gradient(vectors(24, given.dimension, 0), [contrast_of(8, 16)], objective, 8)

    before = _resident()
    started = time.perf_counter()
    outcome = loss_and_gradient(embeddings, [contrast], objective, given.queries)
    seconds = time.perf_counter() - started
    peak = high_water()
    facts = {
        "seconds": seconds,
        "extra_gib": (peak - before - outcome.gradient.nbytes) / 2**30,
        "inputs_gib": embeddings.nbytes / 2**30,
        "scores_gib": 4 * given.queries * given.passages / 2**30,
        "loss": outcome.loss,
    }
    if given.sample:
        facts |= compare(outcome.loss, outcome.gradient, embeddings, given.queries, given.sample, given.seed)
    print(json.dumps(facts))


def vectors(rows: int, dimension: int, seed: int) -> Tensor:
    """(rows, dimension) random vectors of length 1, float32, made without a second copy."""
    made = torch.randn(rows, dimension, generator=torch.Generator().manual_seed(seed))
    for block in made.split(4096):
        block /= block.norm(dim=1, keepdim=True)
    return made


def contrast_of(queries: int, passages: int) -> ContrastiveRows:
    """Every query against every passage; its own group is every `queries`-th passage, the positive first."""
    group = passages // queries
    own = torch.arange(queries).unsqueeze(1) + queries * torch.arange(group)
    columns = torch.arange(passages) + queries
    return ContrastiveRows(torch.arange(queries), columns, own, torch.empty(0, 2, dtype=torch.long))


def compare(
    loss: float, gradient: Tensor, embeddings: Tensor, queries: int, sample: int, seed: int
) -> dict[str, float]:
    """Relative errors against the float64 reference: of the loss, and the largest of a row's gradient by norm."""
    passages = embeddings.shape[0] - queries
    draw = torch.Generator().manual_seed(seed + 1)
    rows, columns = (
        torch.randperm(count, generator=draw)[: count if sample < 0 else sample] for count in (queries, passages)
    )
    right: Reference = reference(embeddings[:queries], embeddings[queries:], TEMPERATURE, rows, columns)
    return {
        "loss_error": abs(loss - right.loss) / abs(right.loss),
        "rows_error": _worst(gradient[rows], right.rows),
        "columns_error": _worst(gradient[queries + columns], right.columns),
        "rows_checked": len(rows),
        "columns_checked": len(columns),
    }


def _worst(ours: Tensor, right: Tensor) -> float:
    """Largest |ours - right| / |right| over the vectors."""
    return ((ours.double() - right).norm(dim=1) / right.norm(dim=1)).max().item()


def _resident() -> int:
    return psutil.Process().memory_info().rss


if __name__ == "__main__":
    main()
