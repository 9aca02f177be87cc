"""Two passes give the gradient of one, with dropout on, whatever the micro-batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sharpen.hardware.cpu_ops import CpuOps
from sharpen.models.encoder import Encoder
from sharpen.training.gradient import gradient_cache, micro_batch
from sharpen.training.gradient.activation_budget import ActivationBudget
from sharpen.training.gradient.gradient_cache import embed, encode
from sharpen.training.gradient.micro_batch import MicroBatchConfig, plan
from sharpen.training.settings import TrainingSettings
from tests.sharpen.training.gradients import prepared
from tests.sharpen.training.small_data import ENCODER

pytestmark = pytest.mark.model

TEXTS = ["sun moon river", "stone", "bread milk sugar salt town", "train " * 20, "", "winter summer", "fish " * 9]


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return Encoder.load(str(tiny_model), ENCODER, device="cpu")


def gradients(encoder: Encoder, memory: MicroBatchConfig) -> tuple[Tensor, Tensor]:
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
    plain = gradients(encoder, MicroBatchConfig(tokens, rows, "off"))
    cached = [
        MicroBatchConfig(tokens, rows, "on"),
        *(MicroBatchConfig(tokens, rows, budget=ActivationBudget(size)) for size in (1, 200_000, 1e9)),
    ]
    for memory in cached:
        found = gradients(encoder, memory)
        # the same bits, so what fits into memory on a machine changes no model
        assert all(torch.equal(one, other) for one, other in zip(plain, found, strict=True))


def test_dropout_is_on_in_training_and_off_in_evaluation(encoder: Encoder) -> None:
    tokens = encoder.tokenize(TEXTS, "passage")
    encoder.train()
    drawn = [encode(encoder, tokens, MicroBatchConfig()).embeddings for _ in range(2)]
    assert not torch.allclose(drawn[0], drawn[1])
    still = [embed(encoder, tokens, MicroBatchConfig(tokens=size)) for size in (20, 5000)]
    torch.testing.assert_close(still[0], still[1], rtol=0, atol=2e-6)
    assert encoder.training


def test_replayed_random_numbers_leave_the_generator_where_it_was(encoder: Encoder) -> None:
    state = micro_batch.RandomState(encoder)
    first = torch.rand(3)
    here = torch.get_rng_state()
    with state.replayed():
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), here)


def passes_of(encoder: Encoder, memory: MicroBatchConfig, monkeypatch: pytest.MonkeyPatch) -> int:
    """Forward passes of a step with one text in a micro-batch."""
    tokens = encoder.tokenize(TEXTS, "passage")
    passes = []
    forward = gradient_cache._forward
    with monkeypatch.context() as patch:
        patch.setattr(gradient_cache, "_forward", lambda *a: passes.append(1) or forward(*a))
        encoding = encode(encoder, tokens, memory)
        encoding.backward(torch.ones_like(encoding.embeddings))
    return len(passes)


def test_number_of_passes(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is encoded again that kept its activations; as many do as there is room for, and one always."""
    everything = ActivationBudget(1e9)
    found = {
        "off": passes_of(encoder, MicroBatchConfig(None, 1, "off"), monkeypatch),
        "on": passes_of(encoder, MicroBatchConfig(None, 1, "on"), monkeypatch),
        "all": passes_of(encoder, MicroBatchConfig(None, 1, budget=everything), monkeypatch),
        "a byte": passes_of(encoder, MicroBatchConfig(None, 1, budget=ActivationBudget(1)), monkeypatch),
        "free memory": passes_of(encoder, MicroBatchConfig(None, 1), monkeypatch),
    }
    texts = len(TEXTS)
    assert found == {"off": texts, "on": 2 * texts, "all": texts, "a byte": 2 * texts - 1, "free memory": texts}
    most = ActivationBudget(everything.taken * 0.9)
    assert texts < passes_of(encoder, MicroBatchConfig(None, 1, budget=most), monkeypatch) < 2 * texts - 1
    assert most.taken <= everything.taken * 0.9


def test_out_of_memory_keeps_fewer_and_goes_on(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = gradients(encoder, MicroBatchConfig(None, 1, "off"))
    room, calls, forward = ActivationBudget(1e9), [], gradient_cache._forward

    def failing(*given: object) -> Tensor:
        calls.append(1)
        if len(calls) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(gradient_cache, "_forward", failing)
    found = gradients(encoder, MicroBatchConfig(None, 1, budget=room))
    assert all(torch.equal(one, other) for one, other in zip(plain, found, strict=True))
    assert capsys.readouterr().out.count("memory ran out") == 1
    calls[:] = [1] * 10
    before = len(calls)
    gradients(encoder, MicroBatchConfig(None, 1, budget=room))
    assert len(TEXTS) < len(calls) - before < 2 * len(TEXTS), "later steps keep fewer too"


def test_another_fault_is_raised(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> Tensor:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(gradient_cache, "_forward", failing)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        gradients(encoder, MicroBatchConfig())


def test_plan_keeps_to_the_budget_and_covers_every_text_once() -> None:
    tokens = [[0] * length for length in (5, 30, 2, 9, 9, 50, 1, 4)]
    pieces = plan(tokens, MicroBatchConfig(tokens=36, rows=3), torch.device("cpu"))
    assert sorted(row for piece in pieces for row in piece) == list(range(8))
    for piece in pieces:
        longest = max(len(tokens[row]) for row in piece)
        assert len(piece) <= 3
        assert len(piece) * longest <= 36 or len(piece) == 1
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    long = [[0] * 100] * 100
    assert [len(piece) for piece in plan(long, MicroBatchConfig(), cpu)] == [9] * 11 + [1]
    assert [len(piece) for piece in plan(long[:30], MicroBatchConfig(tokens=2000), cpu)] == [19, 11]
    assert [len(piece) for piece in plan(long, MicroBatchConfig(), gpu)] == [100]
    # few texts are cut finer, so that several cores have something to do
    assert [len(piece) for piece in plan(long[:30], MicroBatchConfig(), cpu)] == [3] * 10
    assert [len(piece) for piece in plan(long[:4], MicroBatchConfig(), cpu)] == [2, 2]
    assert plan([], MicroBatchConfig(), torch.device("cpu")) == []


def test_nothing_to_encode(encoder: Encoder) -> None:
    encoding = encode(encoder, [], MicroBatchConfig())
    assert encoding.embeddings.shape == (0, encoder.dimension)
    encoding.backward(torch.zeros(0, encoder.dimension))


BF16 = ENCODER.model_copy(update={"precision": "bf16"})
OF_BF16: dict[str, dict[str, Any]] = {
    "plain": {},
    "checkpointed": {"gradient_checkpointing": True},
    "adapters": {"lora_rank": 4},
    "two towers": {"share_encoder": False},
    "all of it": {"gradient_checkpointing": True, "lora_rank": 4, "share_encoder": False},
}


@pytest.mark.parametrize("name", OF_BF16)
def test_cached_equals_plain_in_bf16(tiny_model: Path, name: str) -> None:
    """With dropout on; `auto` has pieces that keep their activations and pieces that are encoded again."""
    encoder = prepared(str(tiny_model), TrainingSettings.checked(OF_BF16[name]), BF16)
    tokens = encoder.tokenize(TEXTS[:3], "query") + encoder.tokenize(TEXTS[3:], "passage")

    def step(cache: str) -> tuple[Tensor, dict[str, Tensor]]:
        encoder.zero_grad()
        torch.manual_seed(5)
        with CpuOps():
            encoding = encode(encoder, tokens, MicroBatchConfig(24, 2, cache, ActivationBudget(1)), 3)
            target = torch.linspace(-1, 1, encoding.embeddings.numel()).view_as(encoding.embeddings)
            encoding.backward(target)
        kept = sum(piece.random is None for piece in encoding.micro_batches)
        assert {"off": kept == len(encoding.micro_batches), "on": kept == 0}.get(
            cache, 0 < kept < len(encoding.micro_batches)
        )
        gradients = {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}
        return encoding.embeddings.clone(), gradients

    embeddings, gradients = step("off")
    trained = {n for n, p in encoder.named_parameters() if p.requires_grad and "pooler" not in n}
    assert trained == gradients.keys()
    whole = torch.cat([one.flatten() for one in gradients.values()]).norm()
    for cache in ("on", "auto"):
        again, cached = step(cache)
        assert torch.equal(embeddings, again)
        assert cached.keys() == gradients.keys()
        for weights, gradient in gradients.items():
            # half of the last of the 8 bits of a bf16
            assert (cached[weights] - gradient).norm() <= 2**-9 * max(gradient.norm(), 1e-3 * whole), weights
