"""Gradients of micro-batches, computed side by side by the cores of a CPU and added in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from sharpen.hardware.cpu_ops import RowGradients, add_rows, collected_rows
from sharpen.hardware.thread_pool import map_in_threads

Gradients = tuple[Sequence[Tensor | None], RowGradients]
"""What a micro-batch adds to the gradient of each weight (None: nothing), and to rows of embeddings."""


def gradients_of(output: Tensor, weights: Sequence[nn.Parameter], gradient: Tensor | None = None) -> Gradients:
    """The gradients of `weights` that an `output` gives; `gradient` is that of the output, None for a scalar."""
    given = None if gradient is None else [gradient]
    with collected_rows() as rows:
        return torch.autograd.grad([output], weights, given, allow_unused=True), rows


def accumulate(
    weights: Sequence[nn.Parameter],
    works: Iterable[Callable[[], Gradients]],
    threads: int,
    context: Callable[[], AbstractContextManager[object]],
) -> None:
    """Add what the works give to the gradients of the weights.

    They are added in the order of the works, so the sum is the same to the bit on any number of threads.

    Args:
        weights: that are trained.
        works: one a micro-batch.
        threads: that compute one each.
        context: entered once by each thread.
    """
    for parts, rows in map_in_threads(works, threads, context, ahead=threads):
        for weight, part in zip(weights, parts, strict=True):
            if part is not None:
                weight.grad = part if weight.grad is None else weight.grad.add_(part)
        add_rows(rows)
