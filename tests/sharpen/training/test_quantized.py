"""QLoRA: the base in 4 bits, adapters beside it, and the model that is saved is the one that was trained."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sharpen.embeddings.encoding import encode
from sharpen.errors import InputError
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.training.gradient.micro_batch import MicroBatchConfig
from sharpen.training.model import quantized
from sharpen.training.model.encoder_setup import finish, set_up, trained_weights
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import check_settings, train
from tests.sharpen.models.tiny_models import make_model
from tests.sharpen.training.small_data import ENCODER, small_data
from tests.sharpen.training.test_checkpoints import crash_at
from tests.sharpen.training.test_gradient_cache import gradients

needs_package = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
TEXTS = ["sun moon river", "", "bread milk sugar salt town train winter"]
# of QLoRA's paper, appendix E
NF4 = [-1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0]
NF4 += [0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0]


def settings(**values: Any) -> TrainingSettings:
    base = {"train_batch_size": 8, "train_group_size": 4, "lora_rank": 4, "lora_dropout": 0.0, "quantize_base": "nf4"}
    return TrainingSettings.checked(base | values)


def prepared(folder: Path, chosen: TrainingSettings, encoding: EncoderSettings = ENCODER) -> Encoder:
    """As training has it in the middle: adapters that are not zero."""
    encoder = Encoder.load(str(folder), encoding, device="cpu", training=True, prepare=quantized.quantize)
    set_up(encoder, chosen)
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weights in encoder.named_parameters():
            if "lora_B" in name:
                weights.add_(torch.randn(weights.shape, generator=draw), alpha=0.05)
    return encoder


def four_bit(model: nn.Module) -> dict[str, Any]:
    return {name: one for name, one in model.named_modules() if type(one).__name__ == "Linear4bit"}


@needs_package
def test_weights_are_those_of_nf4(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "qwen2", wide=True)
    plain = Encoder.load(str(base), ENCODER, device="cpu")
    encoder = Encoder.load(str(base), ENCODER, device="cpu", prepare=quantized.quantize)
    linear = {name: one for name, one in plain.named_modules() if type(one) is nn.Linear}
    layers = four_bit(encoder)
    assert layers.keys() == linear.keys() and len(layers) == 2 * 7
    levels = torch.tensor(NF4)
    for name, layer in layers.items():
        weight, found = linear[name].weight.detach(), quantized.float_weight(layer)
        assert layer.weight.dtype == torch.uint8 and layer.weight.numel() * 2 == weight.numel()
        assert quantized.weight_count(layer.weight) == weight.numel()
        blocks, stored = weight.reshape(-1, 64), found.reshape(-1, 64)
        largest = blocks.abs().amax(dim=1, keepdim=True)
        nearest = levels[(blocks / largest).unsqueeze(-1).sub(levels).abs().argmin(dim=-1)] * largest
        torch.testing.assert_close(stored, nearest, atol=1e-6, rtol=1e-5)
    embeddings = [encode(one, TEXTS, "passage") for one in (plain, encoder)]
    assert 0.5 < (embeddings[0] * embeddings[1]).sum(axis=1).min() < 0.99999


@needs_package
def test_rows_that_blocks_do_not_divide_stay_float(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "qwen2")
    assert not four_bit(Encoder.load(str(base), ENCODER, device="cpu", prepare=quantized.quantize))


@needs_package
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["bert", "qwen2", "t5"])
def test_the_gradient_is_that_of_a_float_model(kind: str, precision: str, tmp_path: Path) -> None:
    encoding = ENCODER.model_copy(update={"precision": precision})
    small = prepared(make_model(tmp_path / "base", kind, wide=True), settings(dropout=0.0), encoding)
    assert four_bit(small) and all("lora_" in name for name in trained_weights(small))
    whole = copy.deepcopy(small)
    quantized.dequantize(whole.model)
    assert not four_bit(whole)
    for memory in (MicroBatchConfig(64, None, "off"), MicroBatchConfig(64, None, "on")):
        found, expected = gradients(small, memory), gradients(whole, memory)
        assert len(found[1]) == sum(weight.numel() for weight in trained_weights(small).values())
        for one, other in zip(found, expected, strict=True):
            if precision == "fp32":
                torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
            assert nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.99
    # evaluation computes as training does
    small.eval(), whole.eval()
    atol = 1e-6 if precision == "fp32" else 2e-2
    np.testing.assert_allclose(encode(small, TEXTS, "passage"), encode(whole, TEXTS, "passage"), atol=atol)


def merged_by_hand(adapted: nn.Module, name: str) -> Tensor:
    layer: Any = adapted.get_submodule(name)
    delta = layer.lora_B["default"].weight @ layer.lora_A["default"].weight * layer.scaling["default"]
    return (quantized.float_weight(layer.base_layer) + delta).detach()


@needs_package
@pytest.mark.parametrize("share_encoder", [True, False])
def test_what_is_saved_is_what_was_trained(share_encoder: bool, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    chosen = settings(share_encoder=share_encoder)
    encoder = prepared(
        make_model(tmp_path / "base", "qwen2", wide=True), chosen, ENCODER.model_copy(update={"query_max_len": 32})
    )
    encoder.eval()
    before = {kind: encode(encoder, TEXTS, kind) for kind in ("query", "passage")}
    inner = "base_model.model.layers.1.mlp.down_proj"
    expected = merged_by_hand(encoder.model, inner)
    finish(encoder, chosen)
    encoder.save(tmp_path / "out")
    folder = tmp_path / "out" / ("" if share_encoder else "document_0_Transformer")
    weights = load_file(folder / "model.safetensors")
    assert {one.dtype for one in weights.values()} == {torch.float32}
    torch.testing.assert_close(weights["layers.1.mlp.down_proj.weight"], expected)
    assert weights.keys() == load_file(tmp_path / "base" / "model.safetensors").keys()
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    for kind, found in (("query", theirs.encode_query(TEXTS)), ("passage", theirs.encode_document(TEXTS))):
        np.testing.assert_allclose(encode(encoder, TEXTS, kind), before[kind], atol=1e-5)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, before[kind], atol=1e-5)


@needs_package
def test_a_broken_training_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with storage.publish(str(tmp_path / "set"), producer="test", run_id="") as local:
        small_data().save(local)
    base = make_model(tmp_path / "base", "qwen2", wide=True)
    values = {"max_steps": 4, "save_steps": 2, "learning_rate": 1e-2, "checkpoint_folder": str(tmp_path / "local")}
    chosen = settings(**values, train_group_size=2, gradient_checkpointing=True, gradient_cache="on")
    crash_at(monkeypatch, 4)
    with pytest.raises(RuntimeError, match="power"):
        train(str(tmp_path / "set"), None, str(base), str(tmp_path / "broken"), chosen, ENCODER)
    monkeypatch.undo()
    saved = load_file(next(tmp_path.glob("local/*/checkpoint-2/model.safetensors")))
    assert saved and all("lora_" in name for name in saved)
    facts = train(str(tmp_path / "set"), None, str(base), str(tmp_path / "broken"), chosen, ENCODER)
    train(str(tmp_path / "set"), None, str(base), str(tmp_path / "whole"), chosen, ENCODER)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("broken", "whole"))
    assert all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())
    numbers = sum(weight.numel() for weight in load_file(base / "model.safetensors").values())
    adapters = sum(weight.numel() for weight in saved.values())
    assert (facts["weights"], facts["trained_weights"]) == (numbers + adapters, adapters)
    assert facts["settings"]["quantize_base"] == "nf4"


def test_what_it_needs_is_one_line_before_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="set lora_rank"):
        TrainingSettings.checked({"quantize_base": "nf4"})
    with pytest.raises(InputError, match="not sharded"):
        settings(fsdp=True)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name))
    with pytest.raises(InputError, match=r"pip install 'sharpen\[qlora\]'") as caught:
        check_settings(settings())
    assert len(caught.value.faults) == 1
    check_settings(settings(quantize_base="none"))
