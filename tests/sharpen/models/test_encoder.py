"""The encoder against sentence-transformers, and its own rules of order, padding and length."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sharpen.embeddings.encoding import encode
from sharpen.errors import InputError
from sharpen.models.architecture import Architecture, read_architecture
from sharpen.models.encoder import Encoder
from sharpen.models.identity import weights_hash
from sharpen.models.model_hub import resolve_model
from sharpen.models.pooling import pool
from sharpen.models.prompts import prompts
from sharpen.settings import EncoderSettings

TEXTS = ["a query about cats", "", "dogs", "a much longer passage about cats and dogs and other animals", "dogs"]
FP32 = EncoderSettings.checked({"precision": "fp32"})


@pytest.mark.model
@pytest.mark.parametrize("pooling", ["cls", "mean", "last_token"])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_saved_model_gives_the_same_vectors_in_sentence_transformers(
    tiny_model: Path, tmp_path: Path, pooling: str, normalize: bool
) -> None:
    from sentence_transformers import SentenceTransformer

    settings = EncoderSettings.checked(
        {
            "precision": "fp32",
            "sentence_pooling_method": pooling,
            "normalize_embeddings": normalize,
            "query_instruction_for_retrieval": "find",
            "query_instruction_format": "{}: {}",
        }
    )
    encoder = Encoder.load(str(tiny_model), settings)
    encoder.save(tmp_path / "saved")
    other = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(encode(encoder, TEXTS, "query"), other.encode_query(TEXTS), atol=1e-5)
    np.testing.assert_allclose(encode(encoder, TEXTS, "passage"), other.encode_document(TEXTS), atol=1e-5)
    again = Encoder.load(str(tmp_path / "saved"), FP32.model_copy(update={"normalize_embeddings": normalize}))
    assert again.prompts == {"query": "find: ", "passage": ""}
    assert (again.pooling, weights_hash(again)) == (pooling, weights_hash(encoder))


@pytest.mark.model
def test_order_is_kept_and_batch_size_does_not_matter(tiny_model: Path) -> None:
    one_by_one = Encoder.load(str(tiny_model), FP32.model_copy(update={"batch_tokens": 64}))
    at_once = Encoder.load(str(tiny_model), FP32)
    texts = [" ".join(["cats"] * length) for length in (5, 1, 90, 3, 40, 2)]
    np.testing.assert_allclose(encode(one_by_one, texts, "passage"), encode(at_once, texts, "passage"), atol=1e-6)
    np.testing.assert_array_equal(encode(at_once, TEXTS, "query")[2], encode(at_once, TEXTS, "query")[4])
    assert encode(at_once, [], "query").shape == (0, at_once.dimension)


@pytest.mark.model
def test_a_long_text_is_cut_to_its_kinds_length(tiny_model: Path) -> None:
    encoder = Encoder.load(str(tiny_model), EncoderSettings.checked({"query_max_len": 8, "passage_max_len": 16}))
    long = " ".join(["cats"] * 100)
    assert len(encoder.tokenize([long], "query")[0]) == 8
    assert len(encoder.tokenize([long], "passage")[0]) == 16


@pytest.mark.model
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_goes_to_a_multiple_of_eight_but_no_further_than_the_longest_text(tiny_model: Path, side: str) -> None:
    encoder = Encoder.load(str(tiny_model), EncoderSettings.checked({"query_max_len": 8, "passage_max_len": 21}))
    padded = encoder.pad([[2, 5, 3], [2, 5, 6, 7, 8, 9, 10, 11, 12, 3]], side)
    assert padded["input_ids"].shape == padded["attention_mask"].shape == (2, 16)
    assert padded["attention_mask"].sum(dim=1).tolist() == [3, 10]
    assert encoder.pad([[2] * 19], side)["input_ids"].shape == (1, 21)


@pytest.mark.model
def test_a_mask_that_hides_nothing_changes_nothing(tiny_model: Path) -> None:
    encoder = Encoder.load(str(tiny_model), FP32, device="cpu")
    seen = []
    encoder.model.register_forward_pre_hook(lambda _, __, given: seen.append(given["attention_mask"]), with_kwargs=True)
    rows = [[2, *range(5, 11), 3], [2, *range(20, 26), 3]]
    with torch.inference_mode():
        whole = encoder(**encoder.pad(rows))
        padded = encoder(**encoder.pad([*rows, [2, 3]]))
    assert seen[0] is None and seen[1] is not None
    torch.testing.assert_close(whole, padded[:2], rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_pooling_ignores_padding_on_either_side(side: str) -> None:
    hidden = torch.randn(1, 3, 4)
    junk = torch.full((1, 2, 4), 99.0)
    parts = (junk, hidden) if side == "left" else (hidden, junk)
    mask = torch.tensor([[0, 0, 1, 1, 1] if side == "left" else [1, 1, 1, 0, 0]])
    padded = torch.cat(parts, dim=1)
    torch.testing.assert_close(pool(padded, mask, "mean"), hidden.mean(dim=1))
    torch.testing.assert_close(pool(padded, mask, "cls"), hidden[:, 0])
    torch.testing.assert_close(pool(padded, mask, "last_token"), hidden[:, -1])


@pytest.mark.parametrize(
    ("instruction", "own", "expected"),
    [(None, "query: ", "query: "), (None, "", ""), ("", "query: ", ""), ("find ", "query: ", "find ")],
)
def test_no_instruction_never_becomes_the_word_none(instruction: str | None, own: str, expected: str) -> None:
    settings = EncoderSettings.checked({"query_instruction_for_retrieval": instruction})
    assert prompts(settings, Architecture(prompts={"query": own}))["query"] == expected


@pytest.mark.model
def test_bf16_is_close_and_vectors_are_finite(tiny_model: Path) -> None:
    exact = encode(Encoder.load(str(tiny_model), FP32), TEXTS, "passage")
    quick = encode(Encoder.load(str(tiny_model), EncoderSettings.checked({"precision": "bf16"})), TEXTS, "passage")
    assert quick.dtype == np.float32
    assert math.isclose(float(np.abs(exact - quick).max()), 0.0, abs_tol=0.05)


def test_a_plain_transformers_folder_says_nothing(tmp_path: Path) -> None:
    assert read_architecture(tmp_path) == Architecture(
        None, False, False, {"query": "", "passage": ""}, {"passage": ""}
    )


def write_pooling(folder: Path, config: dict[str, object], *others: str) -> None:
    kinds = [{"path": "p", "type": "x.Pooling"}, *({"path": kind, "type": f"x.{kind}"} for kind in others)]
    (folder / "modules.json").write_text(json.dumps(kinds))
    (folder / "p").mkdir()
    (folder / "p" / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "config",
    [
        {"pooling_mode_max_tokens": True},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        {"pooling_mode": "weightedmean"},
        {"pooling_mode": ["cls", "mean"]},
        {"pooling_mode_mean_tokens": True, "include_prompt": False},
    ],
)
def test_a_pooling_that_would_be_another_one_here_is_told(tmp_path: Path, config: dict[str, object]) -> None:
    write_pooling(tmp_path, config)
    with pytest.raises(InputError, match="sentence_pooling_method"):
        read_architecture(tmp_path)
    assert read_architecture(tmp_path, "mean").pooling is None


@pytest.mark.parametrize("config", [{"pooling_mode_lasttoken": True}, {"pooling_mode": "lasttoken"}])
def test_pooling_is_read_in_old_and_new_spelling(tmp_path: Path, config: dict[str, object]) -> None:
    write_pooling(tmp_path, {"word_embedding_dimension": 4, "pooling_mode_cls_token": False, **config})
    assert read_architecture(tmp_path).pooling == "last_token"


def test_a_module_that_would_be_left_out_is_told(tmp_path: Path) -> None:
    write_pooling(tmp_path, {"pooling_mode_mean_tokens": True}, "LayerNorm")
    with pytest.raises(InputError, match="has the module LayerNorm"):
        read_architecture(tmp_path)


@pytest.mark.parametrize("address", ["./missing", "/nowhere/at/all", "python-package:no_such_package/model"])
def test_an_address_without_a_model_is_one_line(address: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve_model(address)
    assert len(caught.value.faults) == 1
    assert address in caught.value.faults[0]


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(InputError, match="safetensors"):
        resolve_model(str(tmp_path))


def test_a_length_without_room_for_a_token_is_refused(tiny_model: Path) -> None:
    """The tokenizer does not cut to fewer tokens than it adds: a length of 1 would mean none."""
    with pytest.raises(InputError) as caught:
        Encoder.load(str(tiny_model), EncoderSettings(query_max_len=1, passage_max_len=2), device="cpu")
    assert [line.split(":")[0] for line in caught.value.faults] == ["encoder.query_max_len", "encoder.passage_max_len"]
    assert len(Encoder.load(str(tiny_model), EncoderSettings(query_max_len=3)).tokenize(["a b c"], "query")[0]) == 3
