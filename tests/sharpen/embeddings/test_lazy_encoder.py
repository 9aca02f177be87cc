"""A model whose vectors are all kept is not loaded, and one that was changed is never taken for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sharpen.embeddings import LazyEncoder, embed_texts
from sharpen.embeddings.encoding import encode
from sharpen.embeddings.identity import encoder_facts
from sharpen.errors import InputError, StepFailed
from sharpen.models.encoder import Encoder
from sharpen.models.identity import weights_hash
from sharpen.settings import EncoderSettings

pytestmark = pytest.mark.model

TEXTS = [f"river {number} moon" for number in range(40)]
VALUES: dict[str, Any] = {"precision": "fp32", "passage_max_len": 32, "query_max_len": 16}


def settings(**values: Any) -> EncoderSettings:
    return EncoderSettings.checked(VALUES | values)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "a cache"))
    return tmp_path / "a cache"


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses of the models that are loaded."""
    found: list[str] = []
    load = Encoder.load

    def counted(address: str, *others: Any, **more: Any) -> Encoder:
        found.append(address)
        return load(address, *others, **more)

    monkeypatch.setattr(Encoder, "load", counted)
    return found


def changed(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][7] += 1
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})


def test_the_second_time_it_is_not_loaded_and_says_the_same(model: Path, loads: list[str]) -> None:
    first = LazyEncoder.open(str(model), settings())
    expected = embed_texts(first, TEXTS, "passage")
    assert len(loads) == 1
    second = LazyEncoder.open(str(model), settings())
    np.testing.assert_array_equal(embed_texts(second, TEXTS[::-1], "passage"), expected[::-1])
    encoder = Encoder.load(str(model), settings())
    del loads[1:]
    assert (second.dimension, second.weights_hash, second.device) == (
        encoder.dimension,
        weights_hash(encoder),
        encoder.device,
    )
    for kind in ("query", "passage"):
        assert second.facts(kind) == json.loads(json.dumps(encoder_facts(encoder, kind)))
        assert LazyEncoder.of(encoder).facts(kind) == encoder_facts(encoder, kind)
    assert len(loads) == 1
    # a new text wakes it
    found = embed_texts(second, [*TEXTS, "a text that is new"], "passage")
    assert len(loads) == 2
    np.testing.assert_array_equal(found[:-1], expected)
    np.testing.assert_allclose(found[-1], encode(encoder, ["a text that is new"], "passage")[0], atol=1e-6)


PROGRAM = """
import sys
from sharpen.settings import EncoderSettings
from sharpen.embeddings import LazyEncoder, embed_texts

opened = LazyEncoder.open(sys.argv[1], EncoderSettings.checked({values}))
embed_texts(opened, {texts}, "passage")
print("sharpen.embeddings.embed" in sys.modules, "transformers" in sys.modules)
"""


def test_a_run_with_nothing_new_imports_no_transformers(model: Path) -> None:
    embed_texts(LazyEncoder.open(str(model), settings()), TEXTS, "passage")
    program = PROGRAM.format(values=VALUES, texts=TEXTS)
    command = [sys.executable, "-c", program, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.splitlines()[-1] == "True False"


@pytest.mark.parametrize("what", ["weights", "tokenizer", "setting", "code", "library", "precision of the hardware"])
def test_what_decides_a_vector_makes_it_another_model(
    model: Path, loads: list[str], monkeypatch: pytest.MonkeyPatch, what: str, tmp_path: Path
) -> None:
    from sharpen.embeddings import lazy_encoder

    precision = {"precision": "auto"} if what == "precision of the hardware" else {}
    before = LazyEncoder.open(str(model), settings(**precision))
    changes: dict[str, Any] = {}
    if what == "weights":
        changed(model)
    elif what == "tokenizer":
        facts = json.loads((model / "tokenizer.json").read_text())
        vocabulary = facts["model"]["vocab"]
        vocabulary["river"], vocabulary["moon"] = vocabulary["moon"], vocabulary["river"]
        (model / "tokenizer.json").write_text(json.dumps(facts))
    elif what == "setting":
        changes["passage_max_len"] = 24
    elif what == "code":
        shutil.copytree(lazy_encoder._LIBRARY, tmp_path / "library")
        (tmp_path / "library" / "models" / "pooling.py").write_text("# other code\n")
        monkeypatch.setattr(lazy_encoder, "_LIBRARY", tmp_path / "library")
    elif what == "library":
        monkeypatch.setattr(lazy_encoder, "_version", lambda name: f"another {name}")
    else:
        monkeypatch.setattr(lazy_encoder, "use_bf16", lambda *_: "another arithmetic")
    after = LazyEncoder.open(str(model), settings(**precision, **changes))
    assert len(loads) == 2
    if what in ("weights", "tokenizer", "setting"):
        assert after.facts("passage") != before.facts("passage")


def test_a_model_that_changes_while_it_is_in_use_ends_the_run(model: Path) -> None:
    LazyEncoder.open(str(model), settings())
    opened = LazyEncoder.open(str(model), settings())
    changed(model)
    with pytest.raises(StepFailed, match="the model was changed while it was in use; run again"):
        embed_texts(opened, TEXTS, "passage")


def test_put_away_it_is_loaded_again_when_it_is_needed(model: Path, loads: list[str]) -> None:
    opened = LazyEncoder.open(str(model), settings())
    expected = embed_texts(opened, TEXTS, "passage")
    opened.unload()
    np.testing.assert_array_equal(embed_texts(opened, TEXTS, "passage"), expected)
    assert len(loads) == 1
    embed_texts(opened, ["something else"] * 40, "passage")
    assert len(loads) == 2


def test_without_a_cache_nothing_is_written(model: Path, loads: list[str], cache: Path) -> None:
    for _ in range(2):
        embed_texts(LazyEncoder.open(str(model), settings(vector_cache="off")), TEXTS, "passage")
    assert len(loads) == 2
    assert not (cache / "models").exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"dimension": 32, "weights_hash": "x", "facts": {"query": {}}}'])
def test_a_damaged_file_is_written_anew(model: Path, loads: list[str], cache: Path, content: str) -> None:
    LazyEncoder.open(str(model), settings())
    (kept,) = (cache / "models").iterdir()
    whole = kept.read_bytes()
    kept.write_text(content)
    assert LazyEncoder.open(str(model), settings()).dimension == 32
    assert len(loads) == 2 and kept.read_bytes() == whole


def test_where_nothing_can_be_written_it_is_loaded_each_time(model: Path, loads: list[str], cache: Path) -> None:
    cache.mkdir()
    (cache / "models").write_text("in the way")
    for _ in range(2):
        LazyEncoder.open(str(model), settings())
    assert len(loads) == 2


def test_a_cache_that_cannot_be_made_is_done_without(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "file" / "cache"))
    opened = LazyEncoder.open(str(model), settings())
    assert embed_texts(opened, TEXTS, "passage").shape == (40, 32)
    assert "vectors are not kept" in capsys.readouterr().out


def test_models_of_long_ago_are_forgotten(model: Path, cache: Path) -> None:
    LazyEncoder.open(str(model), settings())
    (kept,) = (cache / "models").iterdir()
    os.utime(kept, (time.time() - 100 * 24 * 3600,) * 2)
    LazyEncoder.open(str(model), settings(query_max_len=8))
    (other,) = (cache / "models").iterdir()
    assert other != kept


def test_no_model_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        LazyEncoder.open(str(tmp_path / "none"), settings())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no config\.json there"):
        LazyEncoder.open(str(tmp_path / "empty"), settings())


def test_threads_of_torch_do_not_matter(model: Path, loads: list[str]) -> None:
    before = torch.get_num_threads()
    LazyEncoder.open(str(model), settings())
    try:
        torch.set_num_threads(before + 1)
        LazyEncoder.open(str(model), settings())
    finally:
        torch.set_num_threads(before)
    assert len(loads) == 1
