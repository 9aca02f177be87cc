"""Two towers: trained apart, saved as a `Router` of sentence-transformers, read again by every step."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from safetensors.numpy import load_file

from sharpen.embeddings import embed_texts
from sharpen.embeddings.encoding import encode as encode_texts
from sharpen.embeddings.identity import encoder_facts
from sharpen.errors import InputError
from sharpen.models import model_hub
from sharpen.models.architecture import read_architecture
from sharpen.models.encoder import Encoder
from sharpen.models.identity import weights_hash
from sharpen.store import storage
from sharpen.training.gradient.gradient_cache import embed, encode
from sharpen.training.gradient.micro_batch import MicroBatchConfig
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from tests.sharpen.models.tiny_models import make_model
from tests.sharpen.training.gradients import prepared
from tests.sharpen.training.small_data import ENCODER, small_data
from tests.sharpen.training.test_checkpoints import crash_at
from tests.sharpen.training.trainings import run_all

pytestmark = pytest.mark.model

TEXTS = ["sun moon river", "", "bread milk sugar salt town train winter", "stone " * 40]
FOLDERS = {"query": "query_0_Transformer", "passage": "document_0_Transformer"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    address = str(tmp_path_factory.mktemp("towers data") / "set")
    with storage.publish(address, producer="test", run_id="") as place:
        small_data().save(place)
    return address


def settings(folder: Path, **values: Any) -> TrainingSettings:
    common = {"train_batch_size": 8, "train_group_size": 4, "learning_rate": 1e-3, "share_encoder": False}
    return TrainingSettings.checked({**common, "checkpoint_folder": str(folder / "local"), **values})


def towers(folder: str | Path) -> dict[str, dict[str, np.ndarray]]:
    return {kind: load_file(Path(folder) / place / "model.safetensors") for kind, place in FOLDERS.items()}


def assert_equal_towers(one: str | Path, other: str | Path) -> None:
    first, second = towers(one), towers(other)
    for kind in FOLDERS:
        assert first[kind].keys() == second[kind].keys()
        assert all(np.array_equal(first[kind][name], second[kind][name]) for name in first[kind])


@pytest.mark.parametrize("kind", ["bert", "roberta", "qwen2"])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_saved_folder_is_a_router_of_sentence_transformers(kind: str, normalize: bool, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    encoding = ENCODER.model_copy(
        update={"normalize_embeddings": normalize, "query_instruction_for_retrieval": "find: "}
    )
    base = make_model(tmp_path / "base", kind, padding_side="left")
    encoder = prepared(str(base), TrainingSettings(share_encoder=False), encoding)
    encoder.save(tmp_path / "two")
    theirs = SentenceTransformer(str(tmp_path / "two"), device="cpu")
    assert type(theirs[0]).__name__ == "Router"
    expected = {name: encode_texts(encoder, TEXTS, name) for name in ("query", "passage")}
    np.testing.assert_allclose(theirs.encode_query(TEXTS), expected["query"], atol=1e-5)
    np.testing.assert_allclose(theirs.encode_document(TEXTS), expected["passage"], atol=1e-5)
    # Each route cuts at the length of its own kind, which a folder of one tower cannot say.
    assert [theirs[0].sub_modules[route][0].max_seq_length for route in ("query", "document")] == [16, 32]
    again = Encoder.load(str(tmp_path / "two"), ENCODER.model_copy(update={"normalize_embeddings": normalize}))
    for name, vectors in expected.items():
        np.testing.assert_allclose(encode_texts(again, TEXTS, name), vectors, atol=1e-6)
    assert (again.prompts, again.pooling) == (encoder.prompts, encoder.pooling)
    assert weights_hash(again) == weights_hash(encoder)
    one = Encoder.load(str(base), encoding)
    np.testing.assert_allclose(encode_texts(one, TEXTS, "passage"), expected["passage"], atol=1e-6)
    assert np.abs(encode_texts(one, TEXTS, "query") - expected["query"]).max() > 1e-2


def test_a_folder_that_sentence_transformers_wrote_is_read(tiny_model: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    encoder = prepared(str(tiny_model), TrainingSettings(share_encoder=False))
    encoder.save(tmp_path / "ours")
    ours = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    routes = ours[0].sub_modules
    SentenceTransformer(
        modules=[Router.for_query_document([*routes["query"], ours[1]], [*routes["document"], ours[1]])],
        device="cpu",
    ).save(str(tmp_path / "theirs"))
    again = Encoder.load(str(tmp_path / "theirs"), ENCODER)
    for name in ("query", "passage"):
        np.testing.assert_allclose(encode_texts(again, TEXTS, name), encode_texts(encoder, TEXTS, name), atol=1e-6)
    assert read_architecture(tmp_path / "theirs").normalize


def test_routes_that_cannot_be_read_are_told(tiny_model: Path, tmp_path: Path) -> None:
    prepared(str(tiny_model), TrainingSettings(share_encoder=False)).save(tmp_path / "two")
    place = tmp_path / "two" / "router_config.json"
    router = json.loads(place.read_text())
    place.write_text(json.dumps({**router, "structure": {"document": router["structure"]["document"]}}))
    with pytest.raises(InputError, match="route query has no Transformer"):
        Encoder.load(str(tmp_path / "two"), ENCODER)
    static = {**router, "types": {**router["types"], "query_0_Transformer": "x.StaticEmbedding"}}
    place.write_text(json.dumps(static))
    with pytest.raises(InputError, match="has the module StaticEmbedding"):
        Encoder.load(str(tmp_path / "two"), ENCODER)
    place.write_text(json.dumps(router))
    pooling = tmp_path / "two" / "query_1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"pooling_mode_cls_token": True}))
    with pytest.raises(InputError, match="differ in pooling"):
        Encoder.load(str(tmp_path / "two"), ENCODER)


def test_towers_with_different_tokenizers_are_told(tiny_model: Path, tmp_path: Path) -> None:
    prepared(str(tiny_model), TrainingSettings(share_encoder=False)).save(tmp_path / "two")
    other = make_model(tmp_path / "other", "bert")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "two" / FOLDERS["query"] / name).write_bytes((other / name).read_bytes())
    with pytest.raises(InputError, match="different tokenizers"):
        Encoder.load(str(tmp_path / "two"), ENCODER)


def test_micro_batches_do_not_mix_queries_and_passages(tiny_model: Path) -> None:
    encoder = prepared(str(tiny_model), TrainingSettings(share_encoder=False, dropout=0.0))
    tokens = encoder.tokenize(TEXTS, "query") + encoder.tokenize(TEXTS, "passage")
    expected = torch.from_numpy(np.concatenate([encode_texts(encoder, TEXTS, kind) for kind in ("query", "passage")]))
    for memory in (MicroBatchConfig(), MicroBatchConfig(tokens=40), MicroBatchConfig(rows=1)):
        torch.testing.assert_close(embed(encoder, tokens, memory, 4), expected, atol=1e-6, rtol=0)
        encoding = encode(encoder, tokens, memory, 4)
        torch.testing.assert_close(encoding.embeddings, expected, atol=1e-6, rtol=0)
        lengths = [len(tokens[piece.rows[0]]) for piece in encoding.micro_batches]
        assert lengths == sorted(lengths, reverse=True)
    with pytest.raises(ValueError, match="kind"):
        embed(encoder, tokens, MicroBatchConfig())


def test_trained_evaluated_broken_resumed_and_trained_again(
    data: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From one tower to two, through a crash, and on from the two."""
    chosen = settings(tmp_path, max_steps=6, eval_steps=2, gradient_cache="on", micro_batch_tokens=64)
    crash_at(monkeypatch, 6)
    with pytest.raises(RuntimeError, match="power"):
        train(data, None, str(tiny_model), str(tmp_path / "broken"), chosen, ENCODER)
    monkeypatch.undo()
    train(data, None, str(tiny_model), str(tmp_path / "broken"), chosen, ENCODER)
    facts = train(data, None, str(tiny_model), str(tmp_path / "whole"), chosen, ENCODER)
    assert_equal_towers(tmp_path / "broken", tmp_path / "whole")
    assert (facts["towers"], facts["trained_weights"]) == (2, facts["weights"])
    found, base = towers(tmp_path / "whole"), load_file(tiny_model / "model.safetensors")
    name = "encoder.layer.0.attention.self.value.weight"
    assert not np.array_equal(found["query"][name], found["passage"][name])
    assert not np.array_equal(found["query"][name], base[name])
    assert not np.array_equal(found["passage"][name], base[name])

    again = settings(tmp_path, max_steps=1, learning_rate=1e-6)
    second = train(data, None, str(tmp_path / "whole"), str(tmp_path / "second"), again, ENCODER)
    # The first loss is that of the trained towers, not that of the base model.
    assert second["base_weights"] == weights_hash(Encoder.load(str(tmp_path / "whole"), ENCODER, device="cpu"))
    assert np.abs(towers(tmp_path / "second")["query"][name] - found["query"][name]).max() < 1e-5
    with pytest.raises(InputError, match=r"share_encoder: .* has two towers"):
        train(
            data,
            None,
            str(tmp_path / "whole"),
            str(tmp_path / "third"),
            again.model_copy(update={"share_encoder": True}),
            ENCODER,
        )
    card = (tmp_path / "whole" / "README.md").read_text()
    assert "two towers" in card


def test_cached_vectors_are_those_of_the_kinds_tower(tiny_model: Path, tmp_path: Path) -> None:
    """The door through which mining, evaluation and indexing get vectors."""
    encoder = prepared(str(tiny_model), TrainingSettings(share_encoder=False))
    encoder.save(tmp_path / "two")
    two, one = (Encoder.load(str(folder), ENCODER, device="cpu") for folder in (tmp_path / "two", tiny_model))
    for _ in range(2):
        for kind in ("query", "passage"):
            np.testing.assert_allclose(embed_texts(two, TEXTS, kind), encode_texts(encoder, TEXTS, kind), atol=1e-6)
    # A trained query tower leaves the corpus' vectors valid.
    assert encoder_facts(two, "passage")["weights"] == encoder_facts(one, "passage")["weights"]
    assert encoder_facts(two, "query")["weights"] != encoder_facts(one, "query")["weights"]


@pytest.mark.store
def test_a_two_tower_model_in_a_store_is_a_model(s3: str, tiny_model: Path, tmp_path: Path) -> None:
    encoder = prepared(str(tiny_model), TrainingSettings(share_encoder=False))
    address = f"{s3}/towers/finished"
    with storage.publish(address, producer="finetuning", run_id="") as place:
        encoder.save(place)
    assert weights_hash(Encoder.load(address, ENCODER)) == weights_hash(encoder)
    # What was copied there by hand has no marker.
    for file in model_hub.resolve_model(address).rglob("*"):
        if file.is_file() and not file.name.startswith("_"):
            relative = file.relative_to(model_hub.resolve_model(address)).as_posix()
            storage.write_bytes(f"{s3}/towers/copied/{relative}", file.read_bytes())
    assert weights_hash(Encoder.load(f"{s3}/towers/copied", ENCODER)) == weights_hash(encoder)
    model_hub.validate_model_files("copied", [file.name for file in storage.list_files(f"{s3}/towers/copied")])


@pytest.mark.processes
def test_adapters_on_two_towers_and_two_processes_survive_kill_9(data: str, tiny_model: Path, tmp_path: Path) -> None:
    """Killed at any step with dropout on; the second start ends with the weights of a training that nobody killed."""

    def training(name: str) -> dict[str, Any]:
        chosen = settings(
            tmp_path / name, max_steps=24, save_steps=4, logging_steps=20, lora_rank=4, gradient_checkpointing=True
        )
        addresses = {"data": data, "model": str(tiny_model), "output": str(tmp_path / name / "out")}
        return {**addresses, "settings": chosen.model_dump(exclude_unset=True)}

    def start(*trainings: dict[str, Any]) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.sharpen.training.trainings", json.dumps(trainings), "2"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])

    deadline = time.monotonic() + 600
    with start(training("lost")) as job:
        while not list((tmp_path / "lost").glob("local/*/checkpoint-*/_SUCCESS.json")):
            assert job.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for process in [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]:
            process.kill()
    assert not (tmp_path / "lost" / "out").exists()
    alone = training("alone")
    alone["settings"] |= {"dropout": 0.0, "lora_dropout": 0.0, "max_steps": 3, "save_steps": 0}
    together = {**alone, "output": str(tmp_path / "together")}
    with start(training("lost"), training("unbroken"), together) as job:
        told, _ = job.communicate(timeout=600)
    assert job.returncode == 0
    assert "going on from" in told
    assert_equal_towers(tmp_path / "lost" / "out", tmp_path / "unbroken" / "out")
    run_all([alone])
    one, two = towers(tmp_path / "alone" / "out"), towers(tmp_path / "together")
    for kind in FOLDERS:
        for name in one[kind]:
            np.testing.assert_allclose(two[kind][name], one[kind][name], rtol=0, atol=5e-5, err_msg=name)
