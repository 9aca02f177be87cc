"""Passages as windows: nothing is lost, long ones are cut before words, short ones are packed where that is wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from sharpen.pretraining.masks import CONTINUATION, SPECIAL, WORD
from sharpen.pretraining.windows import Counts, Window, WindowCutter, cuts

pytestmark = pytest.mark.model

# "unbelievable" is no word of the vocabulary, so its letters are tokens
TEXTS = ["the dog", "", "unbelievable " * 9, "one two three " * 20, "a", "sun"]


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> object:
    return AutoTokenizer.from_pretrained(tiny_model)


def windows_of(tokenizer: object, length: int, pack: bool) -> tuple[list[Window], Counts]:
    counts = Counts()
    return list(WindowCutter(tokenizer, length).windows(TEXTS, pack, counts)), counts


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("length", [8, 20, 64, 500])
def test_no_token_is_lost(tokenizer, length: int, pack: bool) -> None:
    made, counts = windows_of(tokenizer, length, pack)
    expected = [number for text in TEXTS for number in tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert [number for ids, kinds in made for number in ids[kinds != SPECIAL].tolist()] == expected
    for ids, kinds in made:
        assert len(ids) == len(kinds) <= length
        assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert kinds[0] == kinds[-1] == SPECIAL and kinds[1] == WORD
    assert counts.tokens == len(expected) and counts.windows == len(made)
    assert (counts.passages, counts.empty_passages) == (5, 1)


def test_packed_texts_stand_apart_and_there_are_fewer_windows(tokenizer) -> None:
    alone, packed = windows_of(tokenizer, 64, False)[0], windows_of(tokenizer, 64, True)[0]
    assert len(packed) < len(alone)
    last_ids, last_kinds = packed[-1]
    assert (last_ids[last_kinds == SPECIAL] == tokenizer.sep_token_id).sum() >= 2


def test_pieces_are_of_like_lengths_and_cut_before_a_word() -> None:
    kinds = np.array(([WORD] + [CONTINUATION] * 2) * 40)
    found = list(cuts(kinds, 50))
    assert [start for start, _ in found] == [0, *(end for _, end in found)][:-1] and found[-1][1] == 120
    assert all(kinds[start] == WORD for start, _ in found)
    sizes = [end - start for start, end in found]
    assert max(sizes) <= 50 and max(sizes) - min(sizes) <= 6
    # a word that is longer than a window
    assert list(cuts(np.array([WORD] + [CONTINUATION] * 9), 4)) == [(0, 4), (4, 7), (7, 10)]
