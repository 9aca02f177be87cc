"""The rate that a floor is computed with is that of the device."""

from __future__ import annotations

import pytest
import torch

from tests.peers import machine


def test_products_are_made_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's device for shapes without numbers stands for a GPU."""
    seen: list[str] = []
    waited: list[str] = []
    multiply = torch.mm

    def mm(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        seen.append(left.device.type)
        return multiply(left, right)

    monkeypatch.setattr(torch, "mm", mm)
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    assert machine.matmul_rate("bf16", 1, "meta") > 0
    assert set(seen) == {"meta"}
    # A GPU's clock is read when the product is there.
    assert waited == ["meta"] * len(seen)
