"""Which attention is chosen, and that a wrong one is not used."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from sharpen.errors import InputError
from sharpen.models import attention
from sharpen.models.attention import implementations_to_try
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from tests.sharpen.models.tiny_models import make_model


def fast_is(name: str) -> Callable[[], str]:
    return lambda: name


def not_asked() -> str:
    raise AssertionError("a GPU's attention does not depend on what is fast on the CPU")


GPU: dict[str, Any] = {"device": "cuda", "half": True, "flash": True, "fast": not_asked}
CPU: dict[str, Any] = {"device": "cpu", "half": True, "flash": False, "fast": fast_is("eager_bf16")}


@pytest.mark.parametrize(
    ("place", "first"),
    [
        (GPU, "flash_attention_2"),
        ({**GPU, "flash": False}, "sdpa"),
        ({**GPU, "half": False}, "sdpa"),
        (CPU, "eager_bf16"),
        ({**CPU, "flash": True}, "eager_bf16"),
        ({**CPU, "fast": fast_is("sdpa")}, "sdpa"),
        ({**CPU, "half": False, "fast": fast_is("eager")}, "eager"),
        ({**GPU, "device": "mps"}, "sdpa"),
    ],
)
def test_the_first_choice_of_a_place(place: dict[str, Any], first: str) -> None:
    chosen = implementations_to_try("auto", **place)
    assert chosen[0] == first
    # Every model has it, so something is always left.
    assert "eager" in chosen
    assert ("flash_attention_2" in chosen) == (first == "flash_attention_2")


@pytest.mark.parametrize("wanted", ["eager", "sdpa"])
@pytest.mark.parametrize("place", [GPU, CPU])
def test_a_users_choice_stands(place: dict[str, Any], wanted: str) -> None:
    assert implementations_to_try(wanted, **place) == [wanted]


@pytest.mark.parametrize(
    ("place", "needs"),
    [(CPU, "a GPU"), ({**GPU, "flash": False}, "the package flash-attn"), ({**GPU, "half": False}, "bf16")],
)
def test_flash_where_it_cannot_run_is_told(place: dict[str, Any], needs: str) -> None:
    with pytest.raises(InputError, match=f"encoder.attn_implementation: .*{needs}"):
        implementations_to_try("flash_attention_2", **place)
    assert implementations_to_try("flash_attention_2", **GPU) == ["flash_attention_2"]


def settings(**values: Any) -> EncoderSettings:
    return EncoderSettings.checked({"precision": "fp32", **values})


@pytest.mark.model
@pytest.mark.parametrize(
    ("wanted", "training", "used"),
    [("auto", True, "eager"), ("auto", False, "sdpa"), ("eager", False, "eager"), ("sdpa", True, "sdpa")],
)
def test_the_encoder_uses_what_was_chosen(
    tiny_model: Path, wanted: str, training: bool, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fast(precision: str, longest: int, *, training: bool) -> str:
        assert (precision, longest) == ("fp32", 256)
        return "eager" if training else "sdpa"

    monkeypatch.setattr("sharpen.hardware.measurement.fast_attention", fast)
    encoder = Encoder.load(str(tiny_model), settings(attn_implementation=wanted), device="cpu", training=training)
    assert encoder.attention == used


@pytest.mark.model
def test_a_model_without_sdpa_has_eager(tmp_path: Path) -> None:
    base = make_model(tmp_path, "mpnet")
    assert Encoder.load(str(base), settings(), device="cpu").attention == "eager"
    with pytest.raises(InputError, match="does not support"):
        Encoder.load(str(base), settings(attn_implementation="sdpa"), device="cpu")


@pytest.fixture
def registered() -> Iterator[dict[str, Any]]:
    """Names -> implementations; a test fills it, and it is empty again afterwards."""
    names = {
        "right": sdpa_attention_forward,
        # As a model that gets lengths instead of a mask computes on a CPU: padding is attended to like text.
        "sees_padding": lambda module, q, k, v, mask, **rest: sdpa_attention_forward(module, q, k, v, None, **rest),
        "not_a_number": lambda *rest, **named: (sdpa_attention_forward(*rest, **named)[0] * float("nan"), None),
    }
    for name, function in names.items():
        AttentionInterface.register(name, function)
        AttentionMaskInterface.register(name, sdpa_mask)
    yield names
    for name in names:
        del AttentionInterface._global_mapping[name]
        del AttentionMaskInterface._global_mapping[name]


@pytest.mark.model
@pytest.mark.parametrize("kind", ["bert", "modernbert", "qwen2"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_only_an_implementation_with_equal_embeddings_is_used(
    registered: dict[str, Any], kind: str, precision: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    base = make_model(tmp_path, kind)
    for name in registered:
        encoder = Encoder.load(
            str(base), settings(precision=precision, sentence_pooling_method="mean"), device="cpu", training=False
        )
        encoder.model.set_attn_implementation(name)
        encoder._verify_attention()
        told = capsys.readouterr().out
        # A causal model's real tokens never see padding on the right.
        wrong = name == "not_a_number" or (name == "sees_padding" and kind != "qwen2")
        assert encoder.attention == ("sdpa" if wrong else name)
        assert (f"note: {name} gives other embeddings than sdpa" in told) == wrong


@pytest.mark.model
@pytest.mark.parametrize(("longest", "used"), [(1600, "sdpa"), (500, "knows_no_rows_of_padding")])
def test_an_implementation_that_is_wrong_beyond_a_local_window_is_not_used(
    longest: int, used: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """As with a mask of -inf only, where a row sees only padding; texts within the window have no such row."""

    def knows_no_rows_of_padding(module: Any, q: Any, k: Any, v: Any, mask: Any, **rest: Any) -> Any:
        mixed, _ = sdpa_attention_forward(module, q, k, v, mask, **rest)
        if mask is not None:
            mixed = mixed.masked_fill(~mask.any(dim=-1).transpose(1, 2).unsqueeze(-1), float("nan"))
        return mixed, None

    base = make_model(tmp_path, "modernbert")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "local_attention": 1200, "max_position_embeddings": 2048}))
    AttentionInterface.register("knows_no_rows_of_padding", knows_no_rows_of_padding)
    AttentionMaskInterface.register("knows_no_rows_of_padding", sdpa_mask)
    try:
        values = {"sentence_pooling_method": "mean", "passage_max_len": longest, "query_max_len": longest}
        encoder = Encoder.load(str(base), settings(**values), device="cpu")
        encoder.model.set_attn_implementation("knows_no_rows_of_padding")
        encoder._verify_attention()
        assert encoder.attention == used
    finally:
        del AttentionInterface._global_mapping["knows_no_rows_of_padding"]
        del AttentionMaskInterface._global_mapping["knows_no_rows_of_padding"]


def test_probes_are_mostly_padding() -> None:
    lengths = [len(text.split()) for text in attention.PROBE_TEXTS]
    assert sum(lengths) < 0.5 * len(lengths) * max(lengths)


@pytest.mark.model
def test_implementations_agree_far_better_than_the_limit(tmp_path: Path) -> None:
    """Between two right implementations in bf16 there is room, even with weights as wide as the tests'."""
    for kind in ("bert", "qwen2", "modernbert"):
        encoder = Encoder.load(str(make_model(tmp_path / kind, kind)), settings(precision="bf16"), device="cpu")
        found = []
        for name in attention.REFERENCES:
            encoder.model.set_attn_implementation(name)
            found.append(encoder._probe("passage").double())
        cosine = torch.nn.functional.cosine_similarity(*found, dim=-1).min().item()
        assert 1 - cosine < 0.3 * (1 - attention.AGREEMENT)
