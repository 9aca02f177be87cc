"""The whole training: what comes out, going on after a kill, architectures, and what is refused before work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sharpen.errors import InputError
from sharpen.models import model_config
from sharpen.models.encoder import Encoder
from sharpen.pretraining.inputs import with_pooling
from sharpen.pretraining.objective import MaskedTokenObjective
from sharpen.pretraining.pretrain import _pooling_before, pretrain
from sharpen.pretraining.settings import PretrainingSettings
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from tests.sharpen.models.tiny_models import add_dense, make_model

pytestmark = pytest.mark.model
ENCODER = EncoderSettings.checked({"precision": "fp32", "query_max_len": 16, "passage_max_len": 24})


def run(corpus: Path, model: Path, output: Path, **given: Any) -> dict[str, Any]:
    chosen = {"train_batch_size": 8, "max_steps": 4, "max_seq_length": 32, "learning_rate": 1e-3, "logging_steps": 1}
    chosen |= {"checkpoint_folder": str(output.parent / "checkpoints"), "save_steps": 0}
    return pretrain(str(corpus), str(model), str(output), PretrainingSettings.checked(chosen | given), ENCODER)


@pytest.fixture(scope="module")
def trained(corpus: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    output = tmp_path_factory.mktemp("trained") / "model"
    return output, run(corpus, tiny_model, output, max_steps=12)


def test_dense_modules_stay_as_they_are(corpus: Path, tmp_path: Path) -> None:
    base = add_dense(make_model(tmp_path / "base", "bert"), {"in_features": 32, "out_features": 8}, pooling="cls")
    run(corpus, base, tmp_path / "out", max_steps=2, weight_decay=0.5)
    weights = [load_file(folder / "2_Dense" / "model.safetensors") for folder in (base, tmp_path / "out")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0].keys() | weights[1].keys())
    assert Encoder.load(str(tmp_path / "out"), ENCODER).dimension == 8


def test_what_comes_out(trained: tuple[Path, dict[str, Any]], tiny_model: Path) -> None:
    output, facts = trained
    assert storage.is_complete(str(output))
    assert json.loads((output / "pretraining.json").read_text()) == json.loads(json.dumps(facts))
    counts = facts["counts"]
    assert (counts["passages"], counts["repeated_passages"], counts["cut_passages"]) == (23, 1, 1)
    losses = [point["loss"] for point in facts["log"] if "loss" in point]
    assert len(losses) == 12 and losses[-1] < losses[0]
    assert "head" in facts["warnings"][0]
    assert facts["warnings"][1].startswith(f"{tiny_model} embeds by mean pooling and is trained for cls: ")
    # the embedding is what RetroMAE trained, whatever the base model had; lengths are the user's
    config = model_config.read(str(output))
    assert config is not None
    assert (config.pooling, config.query_max_len, config.passage_max_len) == ("cls", 16, 24)
    encoder, base = (Encoder.load(str(folder), ENCODER) for folder in (output, tiny_model))
    assert (encoder.pooling, base.pooling) == ("cls", "mean")
    assert not torch.equal(
        encoder.model.embeddings.word_embeddings.weight, base.model.embeddings.word_embeddings.weight
    )
    assert not [name for name in load_file(output / "model.safetensors") if "decoder" in name or "cls." in name]


def test_pooling_that_is_set_holds() -> None:
    chosen, plain = PretrainingSettings.checked({}), PretrainingSettings.checked({"method": "mlm"})
    mean = ENCODER.model_copy(update={"sentence_pooling_method": "mean"})
    assert with_pooling(ENCODER, chosen).sentence_pooling_method == "cls"
    assert with_pooling(mean, chosen) is mean and with_pooling(ENCODER, plain) is ENCODER


def test_a_pooling_that_is_unknown_and_replaced_is_no_fault(tiny_model: Path, tmp_path: Path) -> None:
    assert _pooling_before(str(tiny_model)) == "mean"
    shutil.copytree(tiny_model, tmp_path / "model")
    (config,) = (tmp_path / "model").glob("*/config.json")
    config.write_text('{"pooling_mode_max_tokens": true}')
    assert _pooling_before(str(tmp_path / "model")) == "another"


def test_killed_and_started_again_it_ends_with_the_same_weights(
    corpus: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weights(name: str) -> dict[str, torch.Tensor]:
        return load_file(tmp_path / name / "model" / "model.safetensors")

    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    run(corpus, tiny_model, tmp_path / "whole" / "model", max_steps=5, save_steps=2)
    gradient, done = MaskedTokenObjective.gradient, []

    def dies(self: MaskedTokenObjective, batch: Any, *rest: Any) -> Any:
        done.append(batch.step)
        if batch.step == 3 and done.count(3) == 1:
            raise RuntimeError("the power failed")
        return gradient(self, batch, *rest)

    monkeypatch.setattr(MaskedTokenObjective, "gradient", dies)
    with pytest.raises(RuntimeError):
        run(corpus, tiny_model, tmp_path / "broken" / "model", max_steps=5, save_steps=2)
    facts = run(corpus, tiny_model, tmp_path / "broken" / "model", max_steps=5, save_steps=2)
    assert done == [0, 1, 2, 3, 2, 3, 4]
    assert [point["step"] for point in facts["log"] if "loss" in point] == [1, 2, 3, 4, 5]
    whole, broken = weights("whole"), weights("broken")
    assert whole.keys() == broken.keys() and all(torch.equal(whole[name], broken[name]) for name in whole)
    assert not list((tmp_path / "broken" / "checkpoints").glob("*/*"))


def tiny_of(kind: str, tokenizer: Path, folder: Path) -> Path:
    """A tiny model of another architecture with the tokenizer of the tiny BERT."""
    from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer

    names = AutoTokenizer.from_pretrained(tokenizer)
    size = {"vocab_size": len(names), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    size |= {"intermediate_size": 32, "max_position_embeddings": 48, "pad_token_id": 0}
    if kind == "distilbert":
        size = {"vocab_size": len(names), "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
        size |= {"max_position_embeddings": 48, "pad_token_id": 0}
    if kind == "modernbert":
        size |= {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    if kind == "albert":
        size["embedding_size"] = 8
    maker = AutoModel if kind in ("albert", "gpt2") else AutoModelForMaskedLM
    maker.from_config(AutoConfig.for_model(kind, **size)).save_pretrained(folder)
    names.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "distilbert", "modernbert"])
def test_other_architectures(kind: str, corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    base = tiny_of(kind, tiny_model, tmp_path / kind)
    facts = run(corpus, base, tmp_path / "model", max_steps=6, learning_rate=5e-3)
    losses = [point["loss"] for point in facts["log"] if "loss" in point]
    assert losses[-1] < losses[0] - 0.01
    assert facts["warnings"] == []  # its head is in its folder
    assert Encoder.load(str(tmp_path / "model"), ENCODER).model.config.model_type == kind


def test_a_model_that_cannot_be_pre_trained_is_refused_in_a_line(
    corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    base = tiny_of("albert", tiny_model, tmp_path / "albert")
    with pytest.raises(InputError, match=r"albert models cannot be pre-trained here; those that can: bert, roberta"):
        run(corpus, base, tmp_path / "model")
    shutil.copytree(tiny_model, tmp_path / "no mask")
    settings = json.loads((tmp_path / "no mask" / "tokenizer_config.json").read_text())
    settings["mask_token"] = None
    (tmp_path / "no mask" / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="its tokenizer has no mask token"):
        run(corpus, tmp_path / "no mask", tmp_path / "model")
    with pytest.raises(InputError, match=r"nothing\.jsonl"):
        run(tmp_path / "nothing.jsonl", tiny_model, tmp_path / "model")


def test_settings_that_have_no_effect_are_errors() -> None:
    with pytest.raises(InputError, match="decoder_mlm_probability has no effect with method mlm"):
        PretrainingSettings.checked({"method": "mlm", "decoder_mlm_probability": 0.4})
    assert PretrainingSettings.checked({}).learning_rate == 2e-5
    given = PretrainingSettings.checked({"training_arguments": {"gradient_accumulation_steps": 3}})
    assert given.train_batch_size == 192
