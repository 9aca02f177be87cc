"""Adapters: what is trained, saved and resumed, and that the model without them is the same model."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from sharpen.embeddings.encoding import encode
from sharpen.errors import InputError
from sharpen.models.encoder import Encoder
from sharpen.store import storage
from sharpen.training.model import lora
from sharpen.training.model.encoder_setup import finish, set_up, trained_weights
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import check_settings, train
from tests.sharpen.models.tiny_models import make_model
from tests.sharpen.training.gradients import prepared
from tests.sharpen.training.small_data import ENCODER, small_data
from tests.sharpen.training.test_checkpoints import crash_at

pytestmark = pytest.mark.model

TEXTS = ["sun moon river", "", "bread milk sugar salt town train winter"]


def settings(**values: Any) -> TrainingSettings:
    return TrainingSettings.checked({"train_batch_size": 8, "train_group_size": 4, "lora_rank": 4, **values})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    address = str(tmp_path_factory.mktemp("lora data") / "set")
    with storage.publish(address, producer="test", run_id="") as place:
        small_data().save(place)
    return address


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta", "modernbert", "qwen2", "gpt2"])
def test_merged_weights_give_the_embeddings_of_the_adapters(kind: str, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    chosen = settings(share_encoder=kind != "bert", lora_alpha=32)
    # One length for both kinds, since a folder of one tower can only say one.
    encoding = ENCODER.model_copy(update={"query_max_len": 32})
    encoder = prepared(str(make_model(tmp_path / "base", kind)), chosen, encoding)
    before = {name: encode(encoder, TEXTS, name) for name in ("query", "passage")}
    plain = Encoder.load(str(tmp_path / "base"), encoding, device="cpu")
    assert np.abs(encode(plain, TEXTS, "passage") - before["passage"]).max() > 1e-3
    finish(encoder, chosen)
    assert not any("lora" in name for name in encoder.state_dict())
    encoder.save(tmp_path / "out")
    again = Encoder.load(str(tmp_path / "out"), encoding, device="cpu")
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    for name, found in (("query", theirs.encode_query(TEXTS)), ("passage", theirs.encode_document(TEXTS))):
        np.testing.assert_allclose(encode(encoder, TEXTS, name), before[name], atol=1e-5)
        np.testing.assert_allclose(encode(again, TEXTS, name), before[name], atol=1e-5)
        np.testing.assert_allclose(found, before[name], atol=1e-5)


def test_only_adapters_are_trained_and_they_do_not_depend_on_the_random_state(tiny_model: Path) -> None:
    found = []
    for state in (1, 2):
        torch.manual_seed(state)
        encoder = Encoder.load(str(tiny_model), ENCODER, device="cpu")
        set_up(encoder, settings(lora_target_modules=["query", "value"]))
        found.append(trained_weights(encoder))
    assert len(found[0]) == 2 * 2 * 2
    assert all("lora_" in name for name in found[0])
    for name, weights in found[0].items():
        assert torch.equal(weights, found[1][name])
    assert lora.described(encoder) == {
        "type": "lora",
        "rank": 4,
        "alpha": 16.0,
        "dropout": 0.1,
        "target_modules": ["query", "value"],
    }


def test_gradients_reach_the_adapters_through_recomputed_layers(tiny_model: Path) -> None:
    """All weights below the first adapter are frozen, so nothing that enters a recomputed layer needs a gradient."""
    found = []
    for recomputed in (False, True):
        encoder = prepared(str(tiny_model), settings(dropout=0.0, lora_dropout=0.0, gradient_checkpointing=recomputed))
        encoder(**encoder.pad(encoder.tokenize(TEXTS, "passage"))).sum().backward()
        found.append(torch.cat([w.grad.reshape(-1) for w in encoder.parameters() if w.grad is not None]))
    assert len(found[0]) == sum(weights.numel() for weights in trained_weights(encoder).values())
    torch.testing.assert_close(found[0], found[1])


def test_a_broken_training_goes_on_to_the_same_weights(
    data: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(
        max_steps=8,
        save_steps=3,
        learning_rate=1e-2,
        checkpoint_folder=str(tmp_path / "local"),
        gradient_cache="on",
        micro_batch_tokens=64,
        gradient_checkpointing=True,
    )
    crash_at(monkeypatch, 8)
    with pytest.raises(RuntimeError, match="power"):
        train(data, None, str(tiny_model), str(tmp_path / "broken"), chosen, ENCODER)
    monkeypatch.undo()
    saved = load_file(next(tmp_path.glob("local/*/checkpoint-6/model.safetensors")))
    assert saved
    assert all("lora_" in name for name in saved)
    facts = train(data, None, str(tiny_model), str(tmp_path / "broken"), chosen, ENCODER)
    train(data, None, str(tiny_model), str(tmp_path / "whole"), chosen, ENCODER)
    assert [point["step"] for point in facts["log"] if "loss" in point] == [1, 5, 8]
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("broken", "whole"))
    base = load_file(tiny_model / "model.safetensors")
    assert one.keys() == other.keys() <= base.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)
    changed = {name for name in one if not np.array_equal(one[name], base[name])}
    assert changed == {n for n in one if "encoder.layer" in n and "LayerNorm" not in n and n.endswith("weight")}
    told = json.loads((tmp_path / "whole" / "training.json").read_text())
    assert told["adapters"] == facts["adapters"]
    assert len(told["adapters"]["target_modules"]) == 2 * 6
    assert told["trained_weights"] == sum(weights.size for weights in saved.values()) < told["weights"]


def test_settings_of_adapters_need_a_rank() -> None:
    for name, value in {"lora_alpha": 8.0, "lora_dropout": 0.0, "lora_target_modules": ["query"]}.items():
        with pytest.raises(InputError, match=f"{name} has no effect without lora_rank"):
            settings(lora_rank=0, **{name: value})
    # What a pipeline passes has every setting in it.
    assert TrainingSettings.from_json(settings(lora_rank=0).model_dump_json()).lora_rank == 0


def test_layers_that_are_not_there_are_told(tiny_model: Path) -> None:
    encoder = Encoder.load(str(tiny_model), ENCODER, device="cpu")
    with pytest.raises(InputError, match=r"lora_target_modules: .*q_proj"):
        set_up(encoder, settings(lora_target_modules=["q_proj"]))


def test_a_missing_package_is_told_before_work(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "peft" else found(name))
    with pytest.raises(InputError, match=r"pip install 'sharpen\[lora\]'"):
        check_settings(settings())
    check_settings(settings(lora_rank=0))
