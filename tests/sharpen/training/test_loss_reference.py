"""The float64 reference of the loss benchmark agrees with autograd, so that it may judge the loss at large sizes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from tests.peers import loss_reference
from tests.peers.loss_reference import reference


def test_reference_is_autograds_gradient_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(7)
    queries, passages = (torch.randn(n, 5, generator=draw, dtype=torch.float64) for n in (23, 46))
    leaves = queries.requires_grad_(), passages.requires_grad_()
    loss = functional.cross_entropy(leaves[0] @ leaves[1].T / 0.3, torch.arange(23))
    right = torch.autograd.grad(loss, leaves)

    rows, columns = torch.tensor([22, 0, 9, 8, 10]), torch.tensor([45, 3, 22, 7])
    for block in (4, 23, 512):
        monkeypatch.setattr(loss_reference, "BLOCK", block)
        found = reference(queries.detach(), passages.detach(), 0.3, rows, columns)
        assert abs(found.loss - loss.item()) < 1e-12
        torch.testing.assert_close(found.rows, right[0][rows], rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(found.columns, right[1][columns], rtol=1e-10, atol=1e-14)
