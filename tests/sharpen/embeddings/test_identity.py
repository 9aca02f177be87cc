"""What a kept vector depends on: another model or setting never reads a stale one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sharpen.embeddings import embed_texts
from sharpen.embeddings.encoding import encode
from sharpen.models.encoder import Encoder
from tests.sharpen.embeddings.counting import TEXTS, Counted, cache

__all__ = ["cache"]  # the fixture
pytestmark = pytest.mark.model


def altered(model: Path, folder: Path, change: Callable[[Path], None]) -> Path:
    shutil.copytree(model, folder)
    change(folder)
    return folder


def _one_weight(encoder: Encoder) -> None:
    with torch.no_grad():
        encoder.model.embeddings.word_embeddings.weight[7, 3] += 1e-6


def _hidden_weight(encoder: Encoder) -> None:
    encoder.model.encoder.layer[1].output.dense.bias.data[0] += 1e-6  # an optimiser's way, unseen by autograd


def _lower_case(encoder: Encoder) -> None:
    from tokenizers.normalizers import BertNormalizer

    encoder.tokenizer.backend_tokenizer.normalizer = BertNormalizer(lowercase=False)


def _activation(encoder: Encoder) -> None:
    encoder.model.config.hidden_act = "relu"


@pytest.mark.parametrize("change", [_one_weight, _hidden_weight, _lower_case, _activation])
def test_a_changed_model_never_reads_a_stale_vector(tiny_model: Path, change: Callable[[Encoder], None]) -> None:
    assert Counted(tiny_model).computed(TEXTS) == len(TEXTS)
    counted = Counted(tiny_model)
    assert counted.computed(TEXTS) == 0
    change(counted.encoder)
    assert counted.computed(TEXTS) == len(TEXTS)
    np.testing.assert_array_equal(
        embed_texts(counted.encoder, TEXTS, "passage"), encode(counted.encoder, TEXTS, "passage")
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"passage_max_len": 31},
        {"passage_instruction_for_retrieval": "text: "},
        {"sentence_pooling_method": "cls"},
        {"normalize_embeddings": False},
        {"precision": "bf16"},
    ],
)
def test_a_changed_setting_never_reads_a_stale_vector(tiny_model: Path, settings: dict[str, Any]) -> None:
    assert Counted(tiny_model).computed(TEXTS) == len(TEXTS)
    assert Counted(tiny_model, **settings).computed(TEXTS) == len(TEXTS)
    assert Counted(tiny_model, **settings).computed(TEXTS) == 0


@pytest.mark.parametrize(
    "settings",
    [{"query_max_len": 16}, {"query_instruction_for_retrieval": "find: "}, {"batch_tokens": 64}, {"vector_cache": ""}],
)
def test_what_does_not_concern_passages_leaves_theirs_valid(tiny_model: Path, settings: dict[str, Any]) -> None:
    assert Counted(tiny_model).computed(TEXTS) == len(TEXTS)
    assert Counted(tiny_model, **settings).computed(TEXTS) == (len(TEXTS) if "vector_cache" in settings else 0)


def test_queries_and_passages_and_instructions_are_kept_apart(tiny_model: Path) -> None:
    counted = Counted(tiny_model)
    assert counted.computed(["cats"], "passage") == 1
    assert counted.computed(["cats"], "query") == 1
    assert counted.computed(["cats", "cats", "cats"], "query", ["find ", None, ""]) == 1
    assert counted.computed(["cats", "cats"], "query", ["seek ", "find "]) == 1
    found = embed_texts(counted.encoder, ["cats", "cats"], "query", ["find ", None])
    np.testing.assert_allclose(found, encode(counted.encoder, ["find cats", "cats"], "query"), atol=1e-6)


def test_the_same_model_in_another_folder_reads_the_same_vectors(tiny_model: Path, tmp_path: Path) -> None:
    counted = Counted(tiny_model)
    counted.computed(TEXTS)
    assert Counted(altered(tiny_model, tmp_path / "elsewhere", lambda _: None)).computed(TEXTS) == 0
    counted.encoder.save(tmp_path / "saved")
    assert Counted(tmp_path / "saved").computed(TEXTS) == 0
