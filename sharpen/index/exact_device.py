"""The matrix product of the exact search on a GPU: it finds the candidates, and `search` computes their scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

Finder = Callable[[np.ndarray, np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def gpu_of(device: torch.device) -> str | None:
    """The name of the GPU that a model is on, for `search.top_k`; None if it is on none."""
    return str(device) if device.type == "cuda" else None


def finder(queries: np.ndarray, device: str) -> Finder:
    """What finds the candidates of these queries in one block of passages after the other.

    Args:
        queries: (n, d) float32.
        device: where the product is computed: ``cuda``, ``cuda:1``, or ``cpu`` for a test of this code.

    Returns:
        A function of a block of passages (m, d), the lowest score of interest of each query (n,), the rounding error
        of each query's scores (n,) and k; it gives rows and columns, in row order, of all scores that may be among the
        k best of their row.
    """
    on_device = torch.tensor(queries, device=device)

    def find(block: np.ndarray, floor: np.ndarray, slack: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode(), _whole_floats():
            scores = on_device @ torch.tensor(block, device=device).T  # a copy, since a memory map is read-only
            # bounds are float64, so that rounding one to float32 cannot leave out a score that is equal to it
            least = torch.from_numpy(floor).to(device)
            if scores.shape[1] > k:
                kth = torch.topk(scores, k, dim=1, sorted=False).values.amin(dim=1).double()
                least = torch.maximum(least, kth - torch.from_numpy(slack).to(device))
            rows, columns = torch.nonzero(scores >= least[:, None], as_tuple=True)
            return rows.cpu().numpy(), columns.cpu().numpy()

    return find


@contextmanager
def _whole_floats() -> Iterator[None]:
    """Without TF32, whose error is a thousand times what the search allows for."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
