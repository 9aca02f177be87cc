"""Dense modules: read as sentence-transformers wrote them, trained, and saved so that it reads them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from sharpen.embeddings.encoding import encode
from sharpen.embeddings.identity import encoder_facts
from sharpen.errors import InputError
from sharpen.models.architecture import ACTIVATIONS
from sharpen.models.encoder import Encoder
from sharpen.models.identity import identify
from sharpen.models.loading import embedding_size
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.training.flagembedding.special_tokens import with_special_tokens
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from tests.sharpen.models.tiny_models import add_dense, make_model
from tests.sharpen.training.gradients import prepared
from tests.sharpen.training.small_data import ENCODER, small_data

pytestmark = pytest.mark.model

TEXTS = ["the sun", "", "a river of stone and the moon", "the sun and the moon and the river " * 9]
TANH: dict[str, Any] = {"in_features": 32, "out_features": 24}
SHAPES: dict[str, list[dict[str, Any]]] = {
    # LaBSE
    "one": [{**TANH, "out_features": 32}],
    # sentence-t5, stella
    "linear": [{**TANH, "bias": False, "activation_function": nn.Identity()}],
    # EmbeddingGemma
    "two": [
        {"in_features": 32, "out_features": 96, "bias": False, "activation_function": nn.Identity()},
        {"in_features": 96, "out_features": 32, "bias": False, "activation_function": nn.Identity()},
    ],
    "residual": [
        {**TANH, "activation_function": nn.GELU(), "use_residual": True},
        {"in_features": 24, "out_features": 24, "activation_function": nn.ReLU(), "use_residual": True},
    ],
}


def loaded(folder: Path, **values: Any) -> Encoder:
    common = {"precision": "fp32", "query_max_len": 40, "passage_max_len": 40}
    return Encoder.load(str(folder), EncoderSettings.checked(common | values), device="cpu")


def compared(folder: Path, encoder: Encoder) -> None:
    """The folder gives in sentence-transformers what the encoder gives here."""
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(folder), device="cpu")
    if encoder.query_model is None:
        theirs.max_seq_length = max(encoder.max_lengths.values())
    np.testing.assert_allclose(theirs.encode_query(TEXTS), encode(encoder, TEXTS, "query"), atol=1e-5)
    np.testing.assert_allclose(theirs.encode_document(TEXTS), encode(encoder, TEXTS, "passage"), atol=1e-5)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("dense") / "base", "bert")


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_folder_of_sentence_transformers_is_read_and_written(
    shape: str, normalize: bool, base: Path, tmp_path: Path
) -> None:
    folder = add_dense(base, *SHAPES[shape], normalize=normalize)
    encoder = loaded(folder, normalize_embeddings=normalize)
    assert (encoder.pooling, encoder.dimension) == ("mean", SHAPES[shape][-1]["out_features"])
    assert embedding_size(folder, "x") == encoder.dimension
    compared(folder, encoder)
    encoder.save(tmp_path / "saved")
    compared(tmp_path / "saved", encoder)
    again = loaded(tmp_path / "saved", normalize_embeddings=normalize)
    np.testing.assert_array_equal(encode(again, TEXTS, "passage"), encode(encoder, TEXTS, "passage"))
    assert identify(again) == identify(encoder)
    read = [json.loads((one / "2_Dense" / "config.json").read_text()) for one in (folder, tmp_path / "saved")]
    assert read[1].items() <= read[0].items()
    assert read[0].keys() - read[1].keys() <= {"module_input_name", "module_output_name"}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_torch_under_the_name_that_sentence_transformers_writes(name: str, base: Path) -> None:
    activation = getattr(nn, name)()
    folder = add_dense(base, {**TANH, "activation_function": activation}, normalize=False)
    stored = json.loads((folder / "2_Dense" / "config.json").read_text())["activation_function"]
    assert stored == ACTIVATIONS[name]
    found = encode(loaded(folder, normalize_embeddings=False), TEXTS, "passage")
    weights = {key: value.numpy() for key, value in load_file(folder / "2_Dense" / "model.safetensors").items()}
    pooled = encode(loaded(base, normalize_embeddings=False, sentence_pooling_method="mean"), TEXTS, "passage")
    expected = activation(torch.from_numpy(pooled @ weights["linear.weight"].T + weights["linear.bias"])).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_each_route_has_its_own(base: Path, tmp_path: Path) -> None:
    encoder = loaded(add_dense(base, *SHAPES["residual"]), query_instruction_for_retrieval="find ")
    one = identify(encoder)
    encoder.untie()
    assert identify(encoder).towers["query"] == identify(encoder).towers["passage"] == one.towers["passage"]
    with torch.no_grad():
        encoder.dense["query"][1].linear.bias += 1
    assert identify(encoder).towers["query"] != identify(encoder).towers["passage"]
    encoder.save(tmp_path / "two")
    compared(tmp_path / "two", encoder)
    again = loaded(tmp_path / "two")
    for kind in ("query", "passage"):
        np.testing.assert_array_equal(encode(again, TEXTS, kind), encode(encoder, TEXTS, kind))
    assert identify(again) == identify(encoder)
    router = json.loads((tmp_path / "two" / "router_config.json").read_text())
    router["structure"]["query"] = router["structure"]["query"][:3]
    (tmp_path / "two" / "router_config.json").write_text(json.dumps(router))
    loaded(tmp_path / "two")  # both still give 24 dimensions
    router["structure"]["query"] = router["structure"]["query"][:2]
    (tmp_path / "two" / "router_config.json").write_text(json.dumps(router))
    with pytest.raises(InputError, match=r"its towers give embeddings of \[24, 32\] dimensions"):
        loaded(tmp_path / "two")


def test_weights_and_form_are_part_of_the_identity(base: Path) -> None:
    folder = add_dense(base, *SHAPES["one"])
    encoder, plain = loaded(folder), loaded(base, sentence_pooling_method="mean")
    hashes = {identify(one).tower("passage") for one in (encoder, plain)}
    with torch.no_grad():
        encoder.dense["passage"][0].linear.weight[3, 5] += 1e-3
    hashes.add(identify(encoder).tower("passage"))
    config = folder / "2_Dense" / "config.json"
    config.write_text(config.read_text().replace("Tanh", "Sigmoid"))
    changed = loaded(folder)
    hashes |= {identify(changed).tower("passage"), encoder_facts(changed, "query")["weights"]}
    assert len(hashes) == 4


def test_bf16_of_the_transformer_leaves_them_in_float32(base: Path) -> None:
    encoder = loaded(add_dense(base, *SHAPES["one"]), precision="bf16")
    seen = []
    encoder.dense["passage"][0].linear.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    with encoder.autocast():
        assert encoder(**encoder.pad(encoder.tokenize(TEXTS, "passage"))).dtype == torch.float32
    assert seen == [torch.float32]


def test_added_tokens_leave_them(base: Path) -> None:
    folder = add_dense(base, *SHAPES["one"])
    changed = with_special_tokens(str(folder), ["<new>"], 1)
    for name in ("2_Dense/model.safetensors", "2_Dense/config.json"):
        assert (changed / name).read_bytes() == (folder / name).read_bytes()
    found, expected = (encode(loaded(one), TEXTS, "query") for one in (changed, folder))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_trained_whole_beside_adapters_averaged_and_saved(base: Path, tmp_path: Path) -> None:
    folder = add_dense(base, *SHAPES["residual"])
    with storage.publish(str(tmp_path / "set"), producer="test", run_id="") as local:
        small_data().save(local)
    values = {"train_batch_size": 8, "train_group_size": 2, "max_steps": 4, "save_steps": 2, "learning_rate": 1e-2}
    values |= {"average_checkpoints": 2, "lora_rank": 2, "matryoshka_dims": [8], "served_size": "dim:16+int8"}
    values |= {"checkpoint_folder": str(tmp_path / "local"), "share_encoder": False, "lora_dropout": 0.0}
    chosen = TrainingSettings.checked(values)
    too_long = TrainingSettings.checked(values | {"matryoshka_dims": [32]})
    with pytest.raises(InputError, match="has only 24 dimensions"):
        train(str(tmp_path / "set"), None, str(folder), str(tmp_path / "no"), too_long, ENCODER)
    facts = train(str(tmp_path / "set"), None, str(folder), str(tmp_path / "out"), chosen, ENCODER)
    assert facts["averaged_steps"] == [2, 4]
    before = load_file(folder / "2_Dense" / "model.safetensors")
    for route in ("query", "document"):
        after = load_file(tmp_path / "out" / f"{route}_2_Dense" / "model.safetensors")
        assert after.keys() == before.keys()
        assert all(not torch.equal(after[name], before[name]) for name in before)
    dense = (32 * 24 + 24) + 24 * 32 + (24 * 24 + 24)
    adapted = prepared(str(folder), chosen)
    lora = sum(weight.numel() for name, weight in adapted.named_parameters() if "lora_" in name)
    assert facts["trained_weights"] == 2 * dense + lora
    card = (tmp_path / "out" / "README.md").read_text()
    assert "24 dimensions (mean pooling, Dense 32 x 24, Dense 24 x 24, length 1)" in card
    assert "AutoModel" not in card
    written = json.loads((tmp_path / "out" / "config_sentence_transformers.json").read_text())
    (tmp_path / "out" / "config_sentence_transformers.json").write_text(json.dumps(written | {"truncate_dim": None}))
    compared(tmp_path / "out", loaded(tmp_path / "out", query_max_len=16, passage_max_len=32))
