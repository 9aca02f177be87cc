"""The encoders of T5: read without a decoder, trained with their relative positions, saved for other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sharpen.embeddings.encoding import encode
from sharpen.hardware import cpu_attention
from sharpen.merging.merge import merge
from sharpen.merging.settings import MergingSettings
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.training.gradient.activation_budget import ActivationBudget
from sharpen.training.gradient.micro_batch import MicroBatchConfig
from sharpen.training.model_card.usage import usage
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from tests.sharpen.models.tiny_models import T5, add_dense, make_model
from tests.sharpen.training.small_data import ENCODER, small_data
from tests.sharpen.training.test_gradient_cache import gradients

pytestmark = pytest.mark.model

TEXTS = ["the sun", "", "a river of stone and the moon", "the sun and the moon and the river " * 9]


def loaded(folder: Path, **values: Any) -> Encoder:
    common = {"precision": "fp32", "query_max_len": 40, "passage_max_len": 40}
    return Encoder.load(str(folder), EncoderSettings.checked(common | values), device="cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("t5") / "whole", "t5")


@pytest.mark.parametrize("kind", T5)
def test_a_folder_like_sentence_t5_is_read_and_written(kind: str, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModelForTextEncoding, AutoTokenizer

    whole = make_model(tmp_path / "whole", kind)
    plain = loaded(whole)
    assert plain.pooling == "mean" and not any("decoder" in name for name, _ in plain.named_parameters())
    dense = {"in_features": 32, "out_features": 24, "bias": False, "activation_function": nn.Identity()}
    folder = add_dense(whole, dense)
    encoder = loaded(folder)
    expected = encode(encoder, TEXTS, "passage")
    encoder.save(tmp_path / "saved")
    for one in (folder, tmp_path / "saved"):
        theirs = SentenceTransformer(str(one), device="cpu")
        theirs.max_seq_length = 40
        np.testing.assert_allclose(theirs.encode(TEXTS), expected, atol=1e-5)
    assert not any("decoder" in name for name in load_file(tmp_path / "saved" / "model.safetensors"))
    np.testing.assert_array_equal(encode(loaded(tmp_path / "saved"), TEXTS, "passage"), expected)
    # transformers alone, each text by itself
    model = AutoModelForTextEncoding.from_pretrained(tmp_path / "saved").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "saved")
    weight = load_file(tmp_path / "saved" / "2_Dense" / "model.safetensors")["linear.weight"]
    with torch.inference_mode():
        for text, vector in zip(TEXTS, expected, strict=True):
            batch = tokenizer(text, truncation=True, max_length=40, return_tensors="pt")
            mean = model(**batch).last_hidden_state[0].mean(dim=0)
            by_hand = nn.functional.normalize(weight @ mean, dim=0)
            np.testing.assert_allclose(vector, by_hand.numpy(), atol=1e-5)
    assert np.abs(expected[0] - expected[2]).max() > 0.05


def test_a_decoder_is_not_needed(whole: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    loaded(whole).model.save_pretrained(half)
    for path in whole.glob("*token*"):
        (half / path.name).write_bytes(path.read_bytes())
    np.testing.assert_array_equal(encode(loaded(half), TEXTS, "query"), encode(loaded(whole), TEXTS, "query"))
    weights = {name: one for name, one in load_file(half / "model.safetensors").items() if "block.1" not in name}
    save_file(weights, half / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Exception, match="its files lack"):
        loaded(half)


@pytest.mark.parametrize("kind", ["t5", "umt5"])
def test_every_attention_gives_the_same_embeddings_and_gradients_and_no_nan(kind: str, tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", kind)
    found = {}
    ways = [("sdpa", "fp32"), ("eager", "fp32"), ("sdpa", "bf16"), ("eager", "bf16"), (cpu_attention.NAME, "bf16")]
    for attention, precision in ways:
        encoder = loaded(base, attn_implementation=attention, precision=precision)
        assert encoder.attention == attention
        parts: list[Any] = [module for module in encoder.modules() if hasattr(module, "config")]
        stacks = {part.config._attn_implementation for part in parts}
        assert stacks == {attention}
        embeddings = encoder(**encoder.pad(encoder.tokenize(TEXTS, "passage")))
        embeddings[:, ::2].sum().backward()
        gradient = {name: weight.grad for name, weight in encoder.named_parameters()}
        # positions are learned: a mask that passed no gradient on would leave them
        assert all(one is not None and one.isfinite().all() and one.any() for one in gradient.values())
        found[attention, precision] = (
            embeddings.detach(),
            torch.cat([one.reshape(-1) for one in gradient.values() if one is not None]),
        )
    exact = found["eager", "fp32"]
    torch.testing.assert_close(found["sdpa", "fp32"], exact, atol=1e-5, rtol=1e-4)
    near = []
    for way in ways[2:]:
        pairs = zip(found[way], exact, strict=True)
        near.append([nn.functional.cosine_similarity(*map(torch.flatten, pair), dim=0).item() for pair in pairs])
    assert min(embeddings for embeddings, _ in near) > 0.99
    # bf16 blurs the gradient of random weights; ours no more than torch's
    assert near[2][1] > min(near[0][1], near[1][1]) - 0.02
    encoder = loaded(base)
    rows = encoder.tokenize(TEXTS, "passage")
    with torch.inference_mode():
        alone = torch.cat([encoder(**encoder.pad([row])) for row in rows])
        for side in ("left", "right"):
            torch.testing.assert_close(encoder(**encoder.pad(rows, side)), alone, atol=1e-5, rtol=0)


def test_two_passes_give_the_gradient_of_one_with_dropout(whole: Path) -> None:
    encoder = loaded(whole)
    plain = gradients(encoder, MicroBatchConfig(64, None, "off"))
    for memory in (MicroBatchConfig(64, None, "on"), MicroBatchConfig(64, None, budget=ActivationBudget(1e5))):
        assert all(torch.equal(one, other) for one, other in zip(plain, gradients(encoder, memory), strict=True))


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_trained_saved_and_merged_with_the_whole_base(lora_rank: int, whole: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    with storage.publish(str(tmp_path / "set"), producer="test", run_id="") as local:
        small_data().save(local)
    values = {"train_batch_size": 8, "train_group_size": 2, "max_steps": 3, "save_steps": 0, "learning_rate": 1e-2}
    values |= {"gradient_checkpointing": True, "lora_rank": lora_rank, "checkpoint_folder": str(tmp_path / "local")}
    facts = train(
        *(str(tmp_path / "set"), None, str(whole), str(tmp_path / "out"), TrainingSettings.checked(values), ENCODER)
    )
    assert np.isfinite(facts["last_loss"])
    trained, base = (load_file(folder / "model.safetensors") for folder in (tmp_path / "out", whole))
    changed = {name for name in trained if not torch.equal(trained[name], base[name])}
    everything = {name for name in trained if "weight" in name}
    linear = {name for name in everything if name.split(".")[-2] in ("q", "k", "v", "o", "wi", "wo")}
    assert changed == (linear if lora_rank else everything) and linear
    encoder = loaded(tmp_path / "out", query_max_len=16, passage_max_len=32)
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    np.testing.assert_allclose(theirs.encode(TEXTS), encode(encoder, TEXTS, "passage"), atol=1e-5)
    assert "AutoModelForTextEncoding.from_pretrained" in usage(encoder) and "FlagEmbedding" not in usage(encoder)
    half = MergingSettings.checked({"weights": [0.5]})
    merge([str(tmp_path / "out")], str(tmp_path / "merged"), half, base=str(whole))
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    assert merged.keys() == trained.keys()
    for name in merged:
        torch.testing.assert_close(merged[name], (trained[name] + base[name]) / 2)
