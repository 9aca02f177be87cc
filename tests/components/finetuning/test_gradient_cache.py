"""Two passes give the gradient of one, with dropout on, whatever the micro-batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from components.core.encoder import Encoder
from components.finetuning import gradient_cache
from components.finetuning.gradient_cache import Memory, embed, encode, plan
from tests.components.finetuning.small_data import ENCODER

pytestmark = pytest.mark.model

TEXTS = ["sun moon river", "stone", "bread milk sugar salt town", "train " * 20, "", "winter summer", "fish " * 9]


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return Encoder.load(str(tiny_model), ENCODER, device="cpu")


def gradients(encoder: Encoder, memory: Memory) -> tuple[Tensor, Tensor]:
    """Embeddings, and the weights' gradient of a fixed function of them, with dropout drawn from a fixed seed."""
    encoder.train()
    encoder.zero_grad()
    torch.manual_seed(5)
    encoding = encode(encoder, encoder.tokenize(TEXTS, "passage"), memory)
    target = torch.linspace(-1, 1, encoding.embeddings.numel()).view_as(encoding.embeddings)
    encoding.backward(target)
    flat = torch.cat([p.grad.reshape(-1) for p in encoder.parameters() if p.grad is not None])
    return encoding.embeddings.clone(), flat


@pytest.mark.parametrize("tokens", [24, 64, 10_000])
@pytest.mark.parametrize("rows", [None, 2])
def test_cached_equals_plain_with_dropout(encoder: Encoder, tokens: int, rows: int | None) -> None:
    plain = gradients(encoder, Memory(tokens, rows, "off"))
    for cache in ("on", "auto"):
        cached = gradients(encoder, Memory(tokens, rows, cache))
        assert torch.equal(plain[0], cached[0])
        torch.testing.assert_close(plain[1], cached[1], rtol=1e-5, atol=1e-6)


def test_dropout_is_on_in_training_and_off_in_evaluation(encoder: Encoder) -> None:
    tokens = encoder.tokenize(TEXTS, "passage")
    encoder.train()
    drawn = [encode(encoder, tokens, Memory()).embeddings for _ in range(2)]
    assert not torch.allclose(drawn[0], drawn[1])
    still = [embed(encoder, tokens, Memory(tokens=size)) for size in (20, 5000)]
    torch.testing.assert_close(still[0], still[1], rtol=0, atol=2e-6)
    assert encoder.training


def test_replayed_random_numbers_leave_the_generator_where_it_was(encoder: Encoder) -> None:
    state = gradient_cache.RandomState(encoder)
    first = torch.rand(3)
    here = torch.get_rng_state()
    with state.replayed():
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), here)


@pytest.mark.parametrize(("cache", "extra"), [("off", 0), ("on", 7), ("auto", 5)])
def test_number_of_passes(encoder: Encoder, cache: str, extra: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One text per micro-batch: `auto` keeps the two shortest, which fit into the budget of 6 tokens."""
    tokens = encoder.tokenize(TEXTS, "passage")
    passes = []
    forward = gradient_cache._forward
    monkeypatch.setattr(gradient_cache, "_forward", lambda *a: passes.append(1) or forward(*a))
    encoding = encode(encoder, tokens, Memory(6, 1, cache))
    encoding.backward(torch.ones_like(encoding.embeddings))
    assert len(passes) == len(TEXTS) + extra


def test_plan_keeps_to_the_budget_and_covers_every_text_once() -> None:
    tokens = [[0] * length for length in (5, 30, 2, 9, 9, 50, 1, 4)]
    pieces = plan(tokens, Memory(tokens=36, rows=3), torch.device("cpu"))
    assert sorted(row for piece in pieces for row in piece) == list(range(8))
    for piece in pieces:
        longest = max(len(tokens[row]) for row in piece)
        assert len(piece) <= 3
        assert len(piece) * longest <= 36 or len(piece) == 1
    long = plan([[0] * 100] * 30, Memory(tokens=2000), torch.device("cpu"))
    assert [len(piece) for piece in long] == [10, 10, 10]
    assert [len(piece) for piece in plan([[0] * 100] * 30, Memory(tokens=2000), torch.device("cuda"))] == [20, 10]
    assert plan([], Memory(), torch.device("cpu")) == []


def test_nothing_to_encode(encoder: Encoder) -> None:
    encoding = encode(encoder, [], Memory())
    assert encoding.embeddings.shape == (0, encoder.dimension)
    encoding.backward(torch.zeros(0, encoder.dimension))
