"""Attention in bf16 on a CPU against float64, and the models' own eager attention, in values and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sharpen.hardware import cpu_attention
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from tests.sharpen.models.tiny_models import make_model

TEXTS = ["sun", "", "moon river stone bread milk sugar", "train " * 30, "winter summer " * 9]


class Layer(nn.Module):
    """What the function asks of the layer that it works for."""


def eager_attention_forward(*given: Any, **named: Any) -> tuple[str, Any]:
    """Stands for the function of a model's own module, which this file is to `Layer`."""
    return "own", (given, named)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape).bfloat16()


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_values_and_gradients_against_float64(groups: int, scaling: float | None) -> None:
    torch.manual_seed(1)
    heads, tokens, size = 6, 17, 8
    query = drawn(2, heads, tokens, size).requires_grad_()
    key, value = (drawn(2, heads // groups, tokens, size).requires_grad_() for _ in range(2))
    mask = torch.zeros(2, 1, tokens, tokens)
    mask[1, :, :, 9:] = torch.finfo(torch.float32).min
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, _ = cpu_attention.attention(Layer(), query, key, value, mask, scaling, sliding_window=None)
    assert mixed.shape == (2, tokens, heads, size) and mixed.dtype == torch.bfloat16
    towards = torch.randn(mixed.shape)
    found = torch.autograd.grad((mixed.float() * towards).sum(), [query, key, value])

    exact = [tensor.detach().double().requires_grad_() for tensor in (query, key, value)]
    q, k, v = exact[0], exact[1].repeat_interleave(groups, 1), exact[2].repeat_interleave(groups, 1)
    scores = torch.einsum("bhid,bhjd->bhij", q, k) * (size**-0.5 if scaling is None else scaling)
    scores = scores.masked_fill(mask < 0, float("-inf"))
    expected = torch.einsum("bhij,bhjd->bihd", scores.softmax(-1), v)
    wanted = torch.autograd.grad((expected * towards.double()).sum(), exact)
    for one, other in zip([mixed, *found], [expected, *wanted], strict=True):
        # bf16 keeps 8 bits
        assert (one.double() - other).norm() < 0.01 * other.norm()


@pytest.mark.parametrize(
    ("dtype", "more"),
    [(torch.float32, {}), (torch.bfloat16, {"softcap": 30.0}), (torch.bfloat16, {"s_aux": torch.ones(1)})],
)
def test_what_it_does_not_know_is_left_to_the_model(dtype: torch.dtype, more: dict[str, Any]) -> None:
    query = torch.ones(1, 2, 3, 4, dtype=dtype)
    answer, (given, named) = cpu_attention.attention(Layer(), query, query, query, None, 0.5, 0.1, **more)
    assert answer == "own"
    assert given[1] is query and named == {"scaling": 0.5, "dropout": 0.1, **more}


def test_dropout_is_drawn_in_training_only() -> None:
    query, ones = drawn(1, 2, 30, 4), torch.ones(1, 2, 30, 4, dtype=torch.bfloat16)
    layer = Layer()
    # a mean of ones is one, unless some are left out and the others scaled
    still = cpu_attention.attention(layer.eval(), query, query, ones, None, dropout=0.5)[0]
    dropped = cpu_attention.attention(layer.train(), query, query, ones, None, dropout=0.5)[0]
    assert (still - 1).abs().max() < 0.02
    assert (dropped - 1).abs().max() > 0.1
    assert 0.7 < dropped.float().mean() < 1.3


@pytest.mark.model
@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "mpnet", "modernbert", "qwen2", "mistral", "gpt2"])
def test_a_model_gives_the_embeddings_and_gradients_of_its_own_attention(kind: str, tmp_path: Path) -> None:
    base = str(make_model(tmp_path, kind))
    values = {"query_max_len": 40, "passage_max_len": 40, "sentence_pooling_method": "mean"}

    def found(name: str, precision: str) -> tuple[Tensor, Tensor]:
        settings = EncoderSettings.checked({**values, "precision": precision, "attn_implementation": name})
        encoder = Encoder.load(base, settings, device="cpu", training=True)
        embeddings = encoder(**encoder.pad(encoder.tokenize(TEXTS, "passage")))
        embeddings.backward(torch.linspace(-1, 1, embeddings.numel()).view_as(embeddings))
        gradients = [weight.grad.flatten() for weight in encoder.parameters() if weight.grad is not None]
        return embeddings.detach().double(), torch.cat(gradients).double()

    exact, own, ours = found("eager", "fp32"), found("eager", "bf16"), found(cpu_attention.NAME, "bf16")
    for reference, theirs, found_by_us in zip(exact, own, ours, strict=True):
        assert (found_by_us - reference).norm() <= 1.5 * (theirs - reference).norm()
        assert (found_by_us - reference).norm() < 0.1 * reference.norm()


def test_rows_that_see_nothing_stay_finite() -> None:
    """Padding in a local window sees only padding; a NaN there would reach every text in the next layer."""
    torch.manual_seed(2)
    query, key, value = (drawn(1, 2, 6, 4) for _ in range(3))
    mask = torch.full((1, 1, 6, 6), torch.finfo(torch.float32).min)
    mask[:, :, :4, :4] = 0
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            mixed, _ = cpu_attention.attention(Layer(), query, key, value, mask)
        # as the models' own attention has it: nothing is preferred
        torch.testing.assert_close(mixed[0, 5].float(), value[0].float().mean(dim=1), atol=0.02, rtol=0.02)
        assert mixed.isfinite().all()


@pytest.mark.model
def test_a_model_with_local_windows_runs_with_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    base = make_model(tmp_path, "modernbert")
    values = {
        "precision": "bf16",
        "attn_implementation": cpu_attention.NAME,
        "sentence_pooling_method": "mean",
        "passage_max_len": 40,
    }
    encoder = Encoder.load(str(base), EncoderSettings.checked(values), device="cpu", training=True)
    assert encoder.attention == cpu_attention.NAME
    assert "gives other embeddings" not in capsys.readouterr().out


@pytest.mark.model
def test_a_saved_model_does_not_name_it(tiny_model: Path, tmp_path: Path) -> None:
    values = {"precision": "bf16", "attn_implementation": cpu_attention.NAME}
    encoder = Encoder.load(str(tiny_model), EncoderSettings.checked(values), device="cpu")
    assert encoder.attention == cpu_attention.NAME
    encoder.save(tmp_path / "saved")
    assert cpu_attention.NAME not in (tmp_path / "saved" / "config.json").read_text()


@pytest.mark.parametrize("masked", ["", "own mask of each text", "one mask for all"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_text_by_text_without_gradients_as_at_once_with_them(
    monkeypatch: pytest.MonkeyPatch, masked: str, dropout: float
) -> None:
    monkeypatch.setattr(cpu_attention, "_SCORES", 2 * 4 * 24 * 24)  # two texts
    query, key, value = (drawn(5, 4, 24, 8) for _ in range(3))
    mask = None
    if masked:
        mask = torch.zeros(5 if "each" in masked else 1, 1, 24, 24)
        mask[-1, :, :, 13:] = torch.finfo(torch.float32).min
    found = []
    for gradients in (True, False):
        torch.manual_seed(3)
        with torch.set_grad_enabled(gradients):
            found.append(cpu_attention.attention(Layer().train(), query, key, value, mask, dropout=dropout)[0])
    assert found[1].is_contiguous()
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)
