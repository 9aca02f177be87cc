"""Many architectures: the same embeddings here, in sentence-transformers and in transformers by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sharpen.embeddings.encoding import encode
from sharpen.errors import InputError
from sharpen.models import tokenizing
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from tests.sharpen.models.tiny_models import DECODERS, ENCODERS, POSITIONS, make_model, save_as_qwen2

pytestmark = pytest.mark.model

TEXTS = ["the sun", "", "a river of stone and the moon", " moon", "the sun and the moon and the river " * 9]


def settings(**values: Any) -> EncoderSettings:
    return EncoderSettings.checked({"precision": "fp32", "query_max_len": 40, "passage_max_len": 40, **values})


def loaded(folder: Path, **values: Any) -> Encoder:
    return Encoder.load(str(folder), settings(**values), device="cpu")


def by_hand(folder: Path, texts: list[str], pooling: str, side: str | None = None) -> np.ndarray:
    """transformers alone: its tokenizer pads a batch on its own side, or on the given one."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    batch = tokenizer(
        texts,
        padding=True,
        truncation=True,
        max_length=40,
        return_tensors="pt",
        padding_side=side or tokenizer.padding_side,
    )
    with torch.inference_mode():
        hidden = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    found = []
    for vectors, mask in zip(hidden, batch["attention_mask"].bool(), strict=True):
        own = vectors[mask]
        found.append({"cls": own[0], "mean": own.mean(dim=0), "last_token": own[-1]}[pooling])
    return torch.nn.functional.normalize(torch.stack(found), dim=-1).numpy()


@pytest.mark.parametrize("kind", [*ENCODERS, *DECODERS])
def test_embeddings_are_those_of_sentence_transformers_and_transformers(kind: str, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = loaded(make_model(tmp_path / "base", kind, padding_side="left"), query_instruction_for_retrieval="find ")
    assert encoder.pooling == ("last_token" if kind in DECODERS else "cls")
    encoder.save(tmp_path / "saved")
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    expected = {name: encode(encoder, TEXTS, name) for name in ("query", "passage")}
    np.testing.assert_allclose(theirs.encode_query(TEXTS), expected["query"], atol=1e-5)
    np.testing.assert_allclose(theirs.encode_document(TEXTS), expected["passage"], atol=1e-5)
    np.testing.assert_allclose(by_hand(tmp_path / "saved", TEXTS, encoder.pooling), expected["passage"], atol=1e-5)
    np.testing.assert_allclose(
        by_hand(tmp_path / "saved", [f"find {text}" for text in TEXTS], encoder.pooling), expected["query"], atol=1e-5
    )
    again = loaded(tmp_path / "saved")
    np.testing.assert_allclose(encode(again, TEXTS, "passage"), expected["passage"], atol=1e-6)
    # Random weights must tell texts apart, or nothing was compared.
    assert np.abs(expected["passage"][0] - expected["passage"][2]).max() > 0.05


@pytest.mark.parametrize("pooling", ["mean", "last_token"])
@pytest.mark.parametrize("kind", ["qwen2", "llama", "mistral"])
def test_a_decoder_gives_the_same_on_either_side_of_padding(kind: str, pooling: str, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    base = make_model(tmp_path / "base", kind, padding_side="left", rule="<s> $A")
    encoder = loaded(base, sentence_pooling_method=pooling)
    rows = encoder.tokenize(TEXTS, "passage")
    with torch.inference_mode():
        left, right = (encoder(**encoder.pad(rows, side)) for side in ("left", "right"))
        alone = torch.cat([encoder(**encoder.pad([row])) for row in rows])
    torch.testing.assert_close(left, right, atol=1e-5, rtol=0)
    torch.testing.assert_close(right, alone, atol=1e-5, rtol=0)
    encoder.save(tmp_path / "saved")
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert theirs.tokenizer.padding_side == "left"
    for side in ("left", "right"):
        theirs.tokenizer.padding_side = side
        np.testing.assert_allclose(theirs.encode_document(TEXTS), alone.numpy(), atol=1e-5)
        np.testing.assert_allclose(by_hand(tmp_path / "saved", TEXTS, pooling, side), alone.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_padding_on_the_left_is_not_saved_where_it_would_move_positions(kind: str, tmp_path: Path) -> None:
    encoder = loaded(make_model(tmp_path / "base", kind, padding_side="left"), sentence_pooling_method="mean")
    rows = encoder.tokenize(TEXTS, "passage")
    with torch.inference_mode():
        assert not torch.allclose(encoder(**encoder.pad(rows, "left")), encoder(**encoder.pad(rows)), atol=1e-2)
    encoder.save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())["padding_side"] == "right"


@pytest.mark.parametrize("rule", ["$A", "<s> $A"])
def test_a_language_model_that_becomes_an_encoder_ends_texts_with_eos(rule: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = make_model(tmp_path / "base", "llama", rule=rule)
    bare, eos = loaded(base, add_eos_token=False), loaded(base)
    assert [ids[:-1] for ids in eos.tokenize(TEXTS[:4], "query")] == [
        ids if ids != [1] else [] for ids in bare.tokenize(TEXTS[:4], "query")
    ]
    assert {ids[-1] for ids in eos.tokenize(TEXTS, "query")} == {2}
    assert len(eos.tokenize(TEXTS, "query")[4]) == 40
    eos.save(tmp_path / "saved")
    saved = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert saved(TEXTS[:4])["input_ids"] == eos.tokenize(TEXTS[:4], "query")
    # What has become an embedding model keeps its tokenizer, with EOS or without.
    assert loaded(tmp_path / "saved").tokenize(TEXTS, "query") == eos.tokenize(TEXTS, "query")
    bare.save(tmp_path / "bare")
    assert loaded(tmp_path / "bare").tokenize(TEXTS, "query") == bare.tokenize(TEXTS, "query")


def test_a_tokenizer_that_ends_texts_itself_is_left_alone(tmp_path: Path) -> None:
    """Qwen3-Embedding's appends the padding token, which is not its EOS."""
    base = make_model(tmp_path / "base", "qwen2", rule="$A <pad>")
    for value in (None, True):
        rows = loaded(base, add_eos_token=value).tokenize(TEXTS, "passage")
        assert {row[-1] for row in rows} == {1}
        assert {row[-2] for row in rows if len(row) > 1}.isdisjoint({1, 2})


def test_transformers_own_tokenizer_classes_keep_the_added_eos(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = make_model(tmp_path / "base", "qwen2")
    save_as_qwen2(base)
    encoder = loaded(base)
    assert type(encoder.tokenizer).__name__ == "Qwen2Tokenizer"
    encoder.save(tmp_path / "saved")
    saved = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert type(saved).__name__ == "Qwen2Tokenizer"
    assert saved(TEXTS[:4])["input_ids"] == encoder.tokenize(TEXTS[:4], "passage")
    assert saved("sun")["input_ids"][-1] == 2


def test_a_missing_padding_token_is_eos(tmp_path: Path) -> None:
    encoder = loaded(make_model(tmp_path / "base", "llama", pad=None))
    assert encoder.tokenizer.pad_token == "</s>"
    encoder.save(tmp_path / "saved")
    expected = encode(encoder, TEXTS, "passage")
    np.testing.assert_allclose(by_hand(tmp_path / "saved", TEXTS, "last_token"), expected, atol=1e-5)
    tokenizer = encoder.tokenizer
    tokenizer.pad_token = tokenizer.eos_token = None
    with pytest.raises(InputError, match="neither a padding nor an EOS token"):
        tokenizing.ensure_pad_token(tokenizer, "x")
    with pytest.raises(InputError, match="add_eos_token to false"):
        tokenizer.backend_tokenizer.post_processor = None
        tokenizing.ensure_eos(tokenizer, "x")


def test_the_first_token_of_a_decoder_is_refused(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "qwen2")
    with pytest.raises(InputError, match="sees nothing of the text"):
        loaded(base, sentence_pooling_method="cls")


@pytest.mark.parametrize("kind", [*ENCODERS, "gpt2"])
def test_the_longest_text_that_positions_allow(kind: str, tmp_path: Path) -> None:
    """RoBERTa, XLM-R and MPNet count positions from that of padding on."""
    encoder = loaded(make_model(tmp_path / "base", kind), passage_max_len=500)
    offset = 2 if kind in ("roberta", "xlm-roberta", "mpnet") else 0
    assert encoder.max_lengths == {"query": 40, "passage": POSITIONS - offset}
    assert np.isfinite(encode(encoder, [TEXTS[4]], "passage")).all()


def test_a_saved_tokenizer_does_not_cut_to_the_last_length(tmp_path: Path) -> None:
    """The file would cut every text of who reads it without transformers, such as an inference server."""
    from tokenizers import Tokenizer

    encoder = loaded(make_model(tmp_path / "base", "bert"), query_max_len=4)
    encoder.tokenize(TEXTS, "query")
    encoder.save(tmp_path / "saved")
    alone = Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json"))
    assert alone.truncation is None
    assert len(alone.encode(TEXTS[4]).ids) > 40


def test_weights_that_are_not_in_the_file_are_not_made_up(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base = make_model(tmp_path / "base", "bert")
    weights = load_file(base / "model.safetensors")
    name = next(name for name in weights if "layer.1" in name)
    del weights[name]
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack 1 weights, such as .*layer\.1"):
        loaded(base)


def test_an_encoder_with_a_decoder_is_refused(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "bert")
    (base / "config.json").write_text(json.dumps({"model_type": "bart", "is_encoder_decoder": True}))
    with pytest.raises(InputError, match=r"bart is an encoder with a decoder; of such .* t5, mt5, umt5"):
        loaded(base)
