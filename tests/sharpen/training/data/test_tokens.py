"""Token ids by number are the encoder's, from memory and from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.training.data.build_dataset import make_examples
from sharpen.training.data.ragged_array import RaggedArray
from sharpen.training.data.tokens import Tokens, tokenizer_facts, write_tokens
from sharpen.training.settings import TrainingSettings
from tests.sharpen.training.small_data import ENCODER, small_data


def test_lists_of_a_column_and_of_rows(tmp_path: Path) -> None:
    rows = [list(range(number % 7)) for number in range(2500)]
    Dataset.from_dict({"ids": rows}).save_to_disk(tmp_path / "table")
    mapped = RaggedArray.of_column(Dataset.load_from_disk(tmp_path / "table"), "ids")
    assert len(mapped._blocks) > 1
    for made in (mapped, RaggedArray.of_rows(rows)):
        assert len(made) == 2500
        assert [row.tolist() for row in made] == rows
        assert made[np.int64(1234)].tolist() == rows[1234]
        assert [row.tolist() for row in made[990:1010]] == rows[990:1010]
        with pytest.raises(IndexError):
            made[2500]
    assert RaggedArray.of_rows([])[:] == []


@pytest.mark.model
def test_token_ids_by_number_are_the_encoders(tiny_model: Path, tmp_path: Path) -> None:
    encoder = Encoder.load(str(tiny_model), ENCODER, device="cpu")
    examples = make_examples(small_data(), None, TrainingSettings(train_group_size=4))
    write_tokens(examples, encoder, tmp_path)
    for tokens in (Tokens(examples, encoder), Tokens(examples, encoder, tmp_path)):
        found = tokens.passages([4, 7, 4, 2]) + tokens.queries([3, 0])
        expected = encoder.tokenize([examples.texts[n] for n in (4, 7, 4, 2)], "passage")
        expected += encoder.tokenize([examples.queries[n] for n in (3, 0)], "query")
        assert [ids.tolist() for ids in found] == expected
        assert all(ids.dtype == np.int32 for ids in found)


@pytest.mark.model
def test_what_decides_the_ids_is_known_and_nothing_else(tiny_model: Path) -> None:
    encoder = Encoder.load(str(tiny_model), ENCODER, device="cpu")
    facts = tokenizer_facts(encoder)
    encoder.tokenize(["a call leaves truncation and padding in a tokenizer"] * 3, "passage")
    assert tokenizer_facts(encoder) == facts == tokenizer_facts(Encoder.load(str(tiny_model), ENCODER, device="cpu"))
    for change in (
        {"query_max_len": 8},
        {"passage_instruction_for_retrieval": "text: "},
        {"query_instruction_format": "<{}> {}"},
    ):
        settings = EncoderSettings.checked({**ENCODER.model_dump(), **change})
        assert tokenizer_facts(Encoder.load(str(tiny_model), settings, device="cpu")) != facts
    encoder.tokenizer.add_tokens(["newword"])
    assert tokenizer_facts(encoder) != facts
