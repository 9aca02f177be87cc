"""The in-batch loss and its gradient in float64, written from the definition and independent of Sharpen's code.

With s_ij = q_i . p_j / temperature and the positive of query i in column i, the loss is the mean over i of
logsumexp_j s_ij - s_ii. Its gradient is, for query i, (sum_j w_ij p_j - p_i) / (n temperature) and, for passage j,
(sum_i w_ij q_i - [j < n] q_j) / (n temperature), with w_ij = exp(s_ij - logsumexp_j s_ij).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 512


@dataclass(frozen=True)
class Reference:
    """The loss, and the gradient of the chosen queries (rows) and passages (columns), float64."""

    loss: float
    rows: Tensor
    columns: Tensor


def reference(queries: Tensor, passages: Tensor, temperature: float, rows: Tensor, columns: Tensor) -> Reference:
    """Loss of all (n, d) queries against all (m, d) passages; gradient of the chosen ones, block by block of queries.

    Args:
        queries, passages: any float type.
        temperature: divides the scores.
        rows, columns: (k) and (l) numbers of the queries and passages whose gradient is wanted.
    """
    every = passages.double()
    wanted = every[columns]
    count, total = queries.shape[0], 0.0
    row_gradient = torch.empty(len(rows), queries.shape[1], dtype=torch.float64)
    column_gradient = torch.zeros(len(columns), queries.shape[1], dtype=torch.float64)
    for start in range(0, count, BLOCK):
        block = queries[start : start + BLOCK].double()
        numbers = torch.arange(start, start + len(block))
        scores = block @ every.T / temperature
        normaliser = torch.logsumexp(scores, dim=1)
        total += (normaliser - scores[torch.arange(len(block)), numbers]).sum().item()
        weights = torch.exp(block @ wanted.T / temperature - normaliser.unsqueeze(1))
        column_gradient += (weights - (numbers.unsqueeze(1) == columns).double()).T @ block
        for place in ((rows >= start) & (rows < start + len(block))).nonzero().squeeze(1).split(BLOCK):
            inside = rows[place] - start
            chosen = torch.exp(scores[inside] - normaliser[inside].unsqueeze(1))
            row_gradient[place] = chosen @ every - every[rows[place]]
    scale = count * temperature
    return Reference(total / count, row_gradient / scale, column_gradient / scale)
