"""`BiEncoderModel` against its definition in plain torch, in float64, and on two real processes under DDP."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModel

from sharpen.errors import InputError
from sharpen.models.bi_encoder import BiEncoderModel
from tests.sharpen.models.bi_encoder_process import (
    ACROSS,
    GROUP,
    PASSAGES,
    QUERIES,
    TEACHER,
    VARIANTS,
    double,
    features,
)

pytestmark = pytest.mark.model


def by_definition(name: str, folder: str) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradient by parameter: each text through transformers alone, each row's loss from its softmax."""
    options, distilled = VARIANTS[name]
    transformer = AutoModel.from_pretrained(folder, add_pooling_layer=False).double().eval()
    tokenizer = double(name, folder).encoder.tokenizer

    def embed(text: str) -> Tensor:
        hidden = transformer(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        vector = hidden.mean(dim=0) if options.get("sentence_pooling_method") == "mean" else hidden[0]
        return vector / vector.norm() if options.get("normalized") else vector

    queries, passages = [embed(text) for text in QUERIES], [embed(text) for text in PASSAGES]
    losses = []
    for row, query in enumerate(queries):
        own = [*range(row * GROUP, (row + 1) * GROUP)]
        columns = [*range(len(passages))] if options.get("use_inbatch_neg", True) else own
        score = {column: query @ passages[column] / options.get("temperature", 1.0) for column in columns}

        def entropy(target: int, among: list[int], score: dict[int, Tensor] = score) -> Tensor:
            return -torch.log(torch.exp(score[target]) / sum(torch.exp(score[column]) for column in among))

        weights = torch.softmax(torch.tensor(TEACHER[row], dtype=torch.float64), dim=0)
        if distilled and options.get("kd_loss_type") == "m3_kd_loss":
            taken = [[column for column in columns if column not in own[:place]] for place in range(GROUP)]
            losses.append(sum(weights[n] * entropy(own[n], taken[n]) for n in range(GROUP)))
            continue
        losses.append(entropy(own[0], columns))
        if distilled:
            losses[-1] = losses[-1] + sum(weights[n] * entropy(own[n], own) for n in range(GROUP))
    loss: Any = sum(losses) / len(losses)
    loss.backward()
    return loss.item(), {key: value.grad for key, value in transformer.named_parameters()}


@pytest.mark.parametrize("name", VARIANTS)
def test_loss_and_gradient_equal_the_definition(name: str, tiny_model: Path) -> None:
    loss, gradient = by_definition(name, str(tiny_model))
    model = double(name, str(tiny_model), sub_batch_size=4)
    teacher = TEACHER if VARIANTS[name][1] else None
    output = model(features(model, QUERIES), features(model, PASSAGES), teacher)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(loss, rel=1e-6)
    assert output.scores.shape == (5, 3 if "off" in name else 15)
    assert output.q_reps.shape == (5, 32) and output.p_reps.shape == (15, 32)
    for key, value in model.encoder.model.named_parameters():
        torch.testing.assert_close(value.grad, gradient[key], rtol=1e-6, atol=1e-6, msg=key)


@pytest.fixture(scope="module")
def processes(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes wrote, with 3 and 2 of the 5 queries."""
    folder = tmp_path_factory.mktemp("processes")
    command = [sys.executable, "-W", "ignore", "-m", "tests.sharpen.models.bi_encoder_process", str(tiny_model)]
    subprocess.run([*command, str(folder)], check=True, timeout=240, cwd=Path(__file__).parents[3])
    return [dict(np.load(folder / f"{rank}.npz")) for rank in range(2)]


@pytest.mark.processes
@pytest.mark.parametrize("name", ACROSS)
def test_under_ddp_the_gradient_is_that_of_one_process(processes: list, name: str, tiny_model: Path) -> None:
    loss, gradient = by_definition(name, str(tiny_model))
    for rank, found in enumerate(processes):
        assert float(found[f"{name}/loss"]) == pytest.approx(loss, rel=1e-9)
        assert found[f"{name}/scores"].shape == ((3, 2)[rank], 15)
        for key, value in gradient.items():
            np.testing.assert_allclose(found[f"{name}/{key}"], value.numpy(), rtol=1e-7, atol=1e-10, err_msg=key)


def test_a_model_without_normalisation_has_temperature_1(tiny_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "sharpen"):
        assert BiEncoderModel(str(tiny_model), temperature=0.02).temperature == 1.0
    assert "temperature: set to 1" in caplog.text
    # the published spelling
    assert BiEncoderModel(str(tiny_model), normlized=True, temperature=0.02).temperature == 0.02


def test_a_saved_model_gives_the_same_embeddings_in_sentence_transformers(tiny_model: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = BiEncoderModel(str(tiny_model), normalized=True)
    model.save(tmp_path / "saved")
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(PASSAGES)
    embeddings = model.encode(features(model, PASSAGES))
    assert embeddings is not None
    np.testing.assert_allclose(embeddings.detach().cpu().numpy(), theirs, atol=1e-5)
    assert model.compute_similarity(embeddings, embeddings).diagonal().tolist() == pytest.approx([1.0] * 15, abs=1e-5)


def test_checkpointing_leaves_the_gradient_as_it_is(tiny_model: Path) -> None:
    gradients = []
    for checkpointed in (False, True):
        model = double("in-batch", str(tiny_model)).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if checkpointed:
            model.gradient_checkpointing_enable()
            assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
        output = model(features(model, QUERIES), [features(model, PASSAGES[:6]), features(model, PASSAGES[6:])])
        output.loss.backward()
        gradients.append(torch.cat([value.grad.reshape(-1) for value in model.parameters()]))
    torch.testing.assert_close(*gradients)


def test_queries_alone_have_no_loss(tiny_model: Path) -> None:
    model = BiEncoderModel(str(tiny_model))
    output = model(features(model, QUERIES))
    assert output.loss is None and output.p_reps is None and output.q_reps.shape == (5, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kd_loss_type": "mse"}, "kd_loss_type: must be"),
        ({"temperature": 0}, "temperature: must be above 0"),
        ({"sentence_pooling_method": "max"}, "sentence_pooling_method"),
        ({"negatives_cross_device": True, "use_inbatch_neg": False}, "needs use_inbatch_neg"),
        ({"config_name": "./nothing"}, "no such folder"),
    ],
)
def test_arguments_that_cannot_be(tiny_model: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        BiEncoderModel(str(tiny_model), **options)


def test_batches_that_cannot_be(tiny_model: Path) -> None:
    model = BiEncoderModel(str(tiny_model))
    query, passage = features(model, QUERIES), features(model, PASSAGES)
    with pytest.raises(InputError, match="14 texts for 5 queries"):
        model(query, {key: value[:-1] for key, value in passage.items()})
    with pytest.raises(InputError, match="teacher_score: 2 scores for 15 passages"):
        model(query, passage, [1.0, 2.0])
    with pytest.raises(InputError, match="position_ids is unknown"):
        model({**query, "position_ids": query["input_ids"]})


def test_another_configuration_tokenizer_and_cache(
    tiny_model: Path, cased_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model in a hub's cache, which is all that there is without a network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    snapshot = tmp_path / "hub" / "models--org--tiny" / "snapshots" / ("0" * 40)
    snapshot.parent.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    snapshot.symlink_to(tiny_model, target_is_directory=True)
    with pytest.raises(InputError, match="org/tiny"):
        BiEncoderModel("org/tiny", cache_dir=str(tmp_path / "elsewhere"))
    model = BiEncoderModel("org/tiny", cache_dir=str(tmp_path / "hub"))
    assert model.encoder.address == "org/tiny"

    other = tmp_path / "config"
    other.mkdir()
    config = (tiny_model / "config.json").read_text()
    (other / "config.json").write_text(config.replace('"layer_norm_eps": 1e-12', '"layer_norm_eps": 0.01'))
    changed = BiEncoderModel(str(tiny_model), config_name=str(other))
    assert math.isclose(changed.encoder.model.config.layer_norm_eps, 0.01)
    with pytest.raises(InputError, match="has no tokenizer"):
        BiEncoderModel(str(tiny_model), tokenizer_name=str(other))
    # it knows capital letters, for which the small vocabulary of the model has no vectors
    with pytest.raises(InputError, match="do not belong together"):
        BiEncoderModel(str(tiny_model), tokenizer_name=str(cased_model))
    swapped = BiEncoderModel(str(cased_model), tokenizer_name=str(tiny_model))
    assert swapped.encoder.tokenizer.get_vocab() == model.encoder.tokenizer.get_vocab()
