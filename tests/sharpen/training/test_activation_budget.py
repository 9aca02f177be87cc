"""What is measured as kept by a forward pass, against torch's own profiler of allocations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from sharpen.models.encoder import Encoder
from sharpen.training.gradient import activation_budget
from sharpen.training.gradient.activation_budget import ActivationBudget
from tests.sharpen.training.small_data import ENCODER

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return Encoder.load(str(tiny_model), ENCODER, device="cpu", training=True).train()


def batch(encoder: Encoder, texts: int, words: int) -> dict[str, torch.Tensor]:
    return encoder.pad(encoder.tokenize(["sun moon river stone " * (words // 4)] * texts, "passage"))


@pytest.mark.parametrize(("texts", "words"), [(4, 16), (64, 16), (8, 36)])
def test_kept_bytes_are_those_that_the_allocator_does_not_get_back(encoder: Encoder, texts: int, words: int) -> None:
    padded = batch(encoder, texts, words)
    encoder(**padded)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        held = encoder(**padded)
    allocated = sum(event.self_cpu_memory_usage for event in profiled.key_averages())
    room = ActivationBudget(1e9)
    room.reset(encoder)
    with room.track(encoder, padded["input_ids"].numel()):
        held = encoder(**padded)
    assert room.taken == pytest.approx(allocated, rel=0.05)
    assert held.requires_grad


def test_the_gradient_is_the_same_when_it_is_measured(encoder: Encoder) -> None:
    padded = batch(encoder, 5, 12)
    found = []
    for measured in (False, True):
        encoder.zero_grad()
        torch.manual_seed(3)
        room = ActivationBudget(1e9)
        room.reset(encoder)
        if measured:
            with room.track(encoder, 60):
                out = encoder(**padded)
        else:
            out = encoder(**padded)
        out.square()[:, :3].sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None]))
    assert torch.equal(*found)


def test_room_by_default_is_a_share_of_what_is_free(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = sum(weight.numel() for weight in encoder.parameters())
    monkeypatch.setattr(activation_budget, "free_bytes", lambda _: 4 * (12 * weights + 1_000_000))
    room = ActivationBudget()
    room.reset(encoder)
    with room.track(encoder, 100):
        pass
    # nothing was kept by that block, so the least that 100 tokens take counts
    least = 2 * 100 * encoder.model.config.hidden_size * encoder.model.config.num_hidden_layers * 4
    assert room.taken == least
    fits = int((1_000_000 - least) / (least / 100))
    assert room.fits(fits) and not room.fits(fits + 2)
    room.reset(encoder)
    assert room.taken == 0 and room.fits(10**9), "a step's first micro-batch always fits"


def test_a_machine_without_free_memory_keeps_one_micro_batch(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation_budget, "free_bytes", lambda _: 0)
    room = ActivationBudget()
    room.reset(encoder)
    assert room.fits(10)
    with room.track(encoder, 10):
        encoder(**batch(encoder, 1, 8))
    assert not room.fits(1)
