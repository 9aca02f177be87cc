"""Dropout and embedding of `cpu_ops` mean what torch's mean."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sharpen.hardware.cpu_ops import CpuOps, for_checkpoint


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(1_000_001,), (7, 11, 1_301)])
def test_dropout_drops_the_asked_share_and_keeps_the_mean(p: float, shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    ones = torch.ones(shape)
    with CpuOps():
        out = functional.dropout(ones, p)
    dropped = (out == 0).float().mean().item()
    # five standard errors of a share, and the rounding of p to 1 / 65536
    assert abs(dropped - p) <= 5 * math.sqrt(p * (1 - p) / ones.numel()) + 2**-17
    if p < 1:
        assert torch.allclose(out[out != 0], torch.tensor(1 / (1 - p)), rtol=1e-4)


def test_neighbouring_elements_are_dropped_independently() -> None:
    torch.manual_seed(2)
    with CpuOps():
        kept = (functional.dropout(torch.ones(400_000), 0.5) != 0).float() - 0.5
    for apart in (1, 2, 3, 4, 8, 64):
        correlation = (kept[:-apart] * kept[apart:]).mean().item() / 0.25
        assert abs(correlation) < 5 / math.sqrt(400_000)


def test_the_gradient_of_dropout_is_its_mask() -> None:
    x = torch.randn(33, 17, requires_grad=True)
    with CpuOps():
        out = functional.dropout(x, 0.3)
    upstream = torch.randn_like(out)
    out.backward(upstream)
    expected = torch.where(out == 0, 0.0, upstream * (out / x).detach())
    assert x.grad is not None
    assert torch.allclose(x.grad, expected, rtol=1e-5)


def test_the_same_state_of_torchs_generator_gives_the_same_mask() -> None:
    x = torch.ones(1000)
    with CpuOps():
        state = torch.get_rng_state()
        first = functional.dropout(x, 0.5)
        other = functional.dropout(x, 0.5)
        torch.set_rng_state(state)
        again = functional.dropout(x, 0.5)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_dropout_is_replayed_when_activations_are_recomputed() -> None:
    torch.manual_seed(3)
    layer = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.4), nn.Linear(8, 1))
    x = torch.randn(16, 8)
    gradients = []
    for recomputed in (False, True):
        torch.manual_seed(4)
        layer.zero_grad()
        with CpuOps():
            again = {"use_reentrant": False, "context_fn": for_checkpoint}
            out = checkpoint(layer, x, **again) if recomputed else layer(x)
            out.sum().backward()
        gradients.append([parameter.grad.clone() for parameter in layer.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_without_training_nothing_is_dropped() -> None:
    x = torch.randn(10)
    with CpuOps():
        assert torch.equal(nn.Dropout(0.5).eval()(x), x)


@pytest.mark.parametrize("padding_idx", [None, 0, -1])
def test_the_gradient_of_an_embedding_is_torchs(padding_idx: int | None) -> None:
    torch.manual_seed(5)
    ours = nn.Embedding(11, 6, padding_idx=padding_idx)
    theirs = nn.Embedding(11, 6, padding_idx=padding_idx)
    theirs.load_state_dict(ours.state_dict())
    rows = [torch.randint(11, (4, 5)) for _ in range(3)]
    for ids in rows:
        upstream = torch.randn(4, 5, 6)
        with CpuOps():
            found = ours(ids)
            found.backward(upstream)
        expected = theirs(ids)
        expected.backward(upstream)
        assert torch.equal(found, expected)
    assert torch.allclose(ours.weight.grad, theirs.weight.grad, atol=1e-6)


def test_an_embedding_that_is_not_trained_gets_no_gradient() -> None:
    frozen = nn.Embedding(5, 3).requires_grad_(False)
    scale = torch.ones(3, requires_grad=True)
    with CpuOps():
        (frozen(torch.tensor([1, 2])) * scale).sum().backward()
    assert frozen.weight.grad is None
    assert scale.grad is not None


def test_without_gradients_an_embedding_is_only_looked_up() -> None:
    table = nn.Embedding(5, 3)
    with CpuOps(), torch.no_grad():
        assert torch.equal(table(torch.tensor([4])), table.weight[4:5])
