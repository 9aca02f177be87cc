"""Special tokens that a command line adds: whole in the tokenizer, with vectors, and nothing else changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from sharpen.errors import InputError
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.training.flagembedding.special_tokens import with_special_tokens
from tests.sharpen.models.tiny_models import make_model

pytestmark = pytest.mark.model
NEW = ["<instruct>", "<query>"]


@pytest.fixture
def decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "cache"))
    return make_model(tmp_path / "llama", "llama")


def test_new_tokens_get_vectors_and_the_old_ones_keep_theirs(decoder: Path) -> None:
    folder = with_special_tokens(str(decoder), NEW, seed=1)
    before, after = (AutoModel.from_pretrained(path).get_input_embeddings().weight for path in (decoder, folder))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    old = len(AutoTokenizer.from_pretrained(decoder))
    assert len(after) == len(tokenizer) == old + 2
    assert torch.equal(after[:old], before[:old])
    assert after[old:].abs().sum(dim=1).min() > 0
    assert {*NEW} <= {*tokenizer.tokenize("<instruct>a<query>b")}
    # every process and every run has the same vectors
    assert with_special_tokens(str(decoder), NEW, seed=1) == folder
    other = AutoModel.from_pretrained(with_special_tokens(str(decoder), NEW, seed=2)).get_input_embeddings().weight
    assert not torch.equal(other, after)


def test_what_is_known_changes_nothing(decoder: Path) -> None:
    folder = with_special_tokens(str(decoder), NEW, seed=1)
    assert with_special_tokens(str(folder), NEW[:1], seed=1) == folder


def test_two_towers_are_refused(decoder: Path, tmp_path: Path) -> None:
    encoder = Encoder.load(str(decoder), EncoderSettings.checked({"query_max_len": 8, "passage_max_len": 8}))
    encoder.untie()
    encoder.save(tmp_path / "towers")
    with pytest.raises(InputError, match="is no plain transformers folder"):
        with_special_tokens(str(tmp_path / "towers"), NEW, seed=1)
