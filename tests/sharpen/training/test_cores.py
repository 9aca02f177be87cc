"""A step on several cores of a CPU gives, to the bit, what it gives on one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sharpen.distributed import ProcessGroup
from sharpen.hardware.cpu_ops import CpuOps, RandomStream
from sharpen.hardware.thread_pool import all_threads, one_thread, worker_count
from sharpen.models.encoder import Encoder
from sharpen.training.data.collator import shard_batch
from sharpen.training.data.tokens import Tokens
from sharpen.training.gradient import gradient_cache
from sharpen.training.gradient.activation_budget import ActivationBudget
from sharpen.training.gradient.gradient_cache import embed
from sharpen.training.gradient.micro_batch import MicroBatchConfig
from sharpen.training.gradient.step import gradient_step
from sharpen.training.objective import objective_of
from sharpen.training.settings import TrainingSettings
from tests.sharpen.training.gradients import prepared
from tests.sharpen.training.small_data import ENCODER, parts

pytestmark = pytest.mark.model

CPU = torch.device("cpu")
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two towers": {"share_encoder": False},
    "adapters": {"lora_rank": 4, "lora_dropout": 0.2},
    "checkpointed": {"gradient_checkpointing": True},
}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def step(
    encoder: Encoder, settings: TrainingSettings, memory: MicroBatchConfig, cores: int
) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of one step with so many threads; dropout is drawn from a fixed seed."""
    torch.set_num_threads(cores)
    examples, batches = parts(settings)
    layout = shard_batch(batches.batch(0), Tokens(examples, encoder), settings, 0, 1)
    encoder.zero_grad()
    torch.manual_seed(9)
    with one_thread(CPU):
        found = gradient_step(encoder, layout, objective_of(settings, normalize=True), memory, ProcessGroup())
    return found.loss, {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("name", "precision"), [*((name, "fp32") for name in SETTINGS), ("checkpointed", "bf16")])
def test_the_gradient_is_the_same_to_the_bit(tiny_model: Path, name: str, precision: str) -> None:
    settings = TrainingSettings.checked({"train_batch_size": 8, "train_group_size": 4, **SETTINGS[name]})
    encoder = prepared(str(tiny_model), settings, ENCODER.model_copy(update={"precision": precision}))
    expected_loss, expected = step(encoder, settings, MicroBatchConfig(96), 1)
    assert any(gradient.abs().sum() > 0 for gradient in expected.values())
    memories = [
        MicroBatchConfig(96),
        MicroBatchConfig(96, cache="on"),
        MicroBatchConfig(96, budget=ActivationBudget(120_000)),
        MicroBatchConfig(96, cache="off"),
    ]
    for cores, memory in zip((2, 3, 4, 3), memories, strict=True):
        loss, found = step(encoder, settings, memory, cores)
        assert loss == expected_loss
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[weights], expected[weights]) for weights in expected)


def test_every_operation_of_a_step_is_on_one_thread(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TrainingSettings.checked({"train_batch_size": 8, "train_group_size": 4})
    encoder = prepared(str(tiny_model), settings)
    seen: list[tuple[str, int]] = []
    forward = gradient_cache._forward

    def watched(*given: Any) -> Tensor:
        embeddings = forward(*given)
        seen.append(("forward", torch.get_num_threads()))
        if embeddings.requires_grad:
            embeddings.register_hook(lambda _: seen.append(("backward", torch.get_num_threads())))
        return embeddings

    monkeypatch.setattr(gradient_cache, "_forward", watched)
    step(encoder, settings, MicroBatchConfig(96), 3)
    assert {what for what, _ in seen} == {"forward", "backward"}
    assert {count for _, count in seen} == {1}
    assert torch.get_num_threads() == 3, "afterwards it is as it was"


def test_a_model_that_draws_from_torchs_generator_is_computed_one_piece_after_the_other(tiny_model: Path) -> None:
    """Threads would take its numbers from each other; the step is the same again and again."""
    settings = TrainingSettings.checked({"train_batch_size": 8, "train_group_size": 4, "gradient_cache": "on"})
    encoder = prepared(str(tiny_model), settings)

    class Noise(nn.Module):
        def forward(self, hidden: Tensor) -> Tensor:
            return hidden + 0.1 * torch.randn_like(hidden)

    encoder.model.embeddings.dropout = Noise()
    assert gradient_cache._uses_torch_rng(encoder)
    found = [step(encoder, settings, MicroBatchConfig(96, cache=cache), 3)[1] for cache in ("on", "on", "off")]
    for weights, gradient in found[0].items():
        torch.testing.assert_close(found[1][weights], gradient, rtol=0, atol=0)
        torch.testing.assert_close(found[2][weights], gradient, rtol=1e-4, atol=1e-6)


def test_where_gradients_do_not_fit_side_by_side_all_threads_work_on_one_piece(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TrainingSettings.checked({"train_batch_size": 8, "train_group_size": 4})
    encoder = prepared(str(tiny_model), settings)
    _, expected = step(encoder, settings, MicroBatchConfig(96), 3)
    size = 4 * sum(weight.numel() for weight in encoder.parameters())
    counts: list[int] = []
    for fit in (3, 1):
        monkeypatch.setattr(gradient_cache, "free_bytes", lambda _, fit=fit: 4 * size * (fit + 1))
        torch.set_num_threads(3)
        counts.append(
            gradient_cache.thread_count(encoder, 10, gradient_cache.gradients_that_fit(encoder, encoder.device))
        )
        _, found = step(encoder, settings, MicroBatchConfig(96), 3)
        for weights, gradient in expected.items():
            torch.testing.assert_close(found[weights], gradient, rtol=1e-4, atol=1e-6)
    assert counts == [3, 0]


def test_embeddings_of_dev_are_the_same_to_the_bit(tiny_model: Path) -> None:
    encoder = Encoder.load(str(tiny_model), ENCODER, device="cpu")
    tokens = encoder.tokenize([f"sun moon {number} " * (1 + number % 5) for number in range(60)], "passage")
    found = []
    for cores in (1, 3):
        torch.set_num_threads(cores)
        with one_thread(CPU):
            found.append(embed(encoder, tokens, MicroBatchConfig(64)))
    assert torch.equal(*found)


def test_threads_are_set_aside_for_lanes_and_given_back() -> None:
    torch.set_num_threads(3)
    with one_thread(CPU):
        assert (torch.get_num_threads(), worker_count(CPU, 10)) == (1, 3)
        with one_thread(CPU), all_threads():
            assert (torch.get_num_threads(), worker_count(CPU, 2)) == (3, 2)
        assert torch.get_num_threads() == 1
    assert (torch.get_num_threads(), worker_count(CPU, 10)) == (3, 3)
    with one_thread(torch.device("cuda")):
        assert torch.get_num_threads() == 3


@pytest.mark.parametrize("mask", ["none", "of truth values", "added"])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_dropout_in_scaled_dot_product_attention(mask: str, grouped: bool, causal: bool) -> None:
    """Without what was dropped it is torch's; it is drawn from the given bits, in values and gradients."""
    if causal and mask != "none":
        pytest.skip("torch takes one of the two")
    torch.manual_seed(4)
    query = torch.randn(3, 4, 10, 8, requires_grad=True)
    key, value = (torch.randn(3, 2 if grouped else 4, 10, 8, requires_grad=True) for _ in range(2))
    seen = torch.rand(3, 1, 10, 10) < 0.7
    seen[..., 0] = True
    given = {
        "none": None,
        "of truth values": seen,
        "added": torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min),
    }[mask]
    options: dict[str, Any] = {"attn_mask": given, "is_causal": causal, "enable_gqa": grouped, "scale": 0.4}
    attention = functional.scaled_dot_product_attention

    def ours(seed: int, dropout: float) -> Tensor:
        with CpuOps(RandomStream((seed,))):
            return attention(query, key, value, dropout_p=dropout, **options)

    exact = attention(query, key, value, **options)
    torch.testing.assert_close(ours(1, 2**-15), exact, rtol=1e-3, atol=1e-3)
    state = torch.get_rng_state()
    assert torch.equal(ours(1, 0.5), ours(1, 0.5)) and not torch.equal(ours(1, 0.5), ours(2, 0.5))
    assert torch.equal(torch.get_rng_state(), state)
    mean = torch.stack([ours(seed, 0.3) for seed in range(2000)]).mean(dim=0)
    assert (mean - exact).abs().mean() < 0.02 * exact.abs().mean() + 0.01
    gradients = torch.autograd.grad(ours(1, 2**-15).sum(), [query, key, value])
    for found, wanted in zip(gradients, torch.autograd.grad(exact.sum(), [query, key, value]), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)
