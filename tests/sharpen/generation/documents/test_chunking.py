"""Passages of a long text: short enough, whole, overlapping, cut where something ends."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sharpen.generation.documents.chunking import chunk

_ENDS = st.lists(st.sampled_from([" ", ". ", "! ", "\n\n", "\n", "。", "...  "]), min_size=1, max_size=60)


@settings(max_examples=100)
@given(_ENDS, st.integers(10, 120), st.integers(0, 60))
@example(["\n", "\n", " "], 11, 0)
def test_no_passage_is_too_long_and_no_word_is_lost_or_cut(ends: list[str], size: int, overlap: int) -> None:
    words = [f"w{number:03}" for number in range(len(ends))]
    text = "".join(word + end for word, end in zip(words, ends, strict=True))
    passages = chunk(text, size, min(overlap, size // 2))
    assert all(0 < len(passage) <= size and passage in text for passage in passages)
    found = [re.findall(r"w\d+", passage) for passage in passages]
    assert sorted({word for row in found for word in row}) == words
    for before, after in pairwise(found):
        # what is shared is the end of one and the beginning of the next
        shared = [word for word in before if word in after]
        assert after[: len(shared)] == shared == before[len(before) - len(shared) :]
        assert len(" ".join(shared)) <= overlap


def test_sentences_stay_whole_and_are_shared() -> None:
    sentences = [f"Sentence {number:02} says one thing." for number in range(30)]
    passages = chunk(" ".join(sentences), 200, 70)
    assert all(passage.startswith("Sentence") and passage.endswith("thing.") for passage in passages)
    for before, after in pairwise(passages):
        shared = [one for one in sentences if one in before and one in after]
        # 27 characters and a space each: two of them fit into 70
        assert len(shared) == 2


def test_long_sentences_are_cut_between_words() -> None:
    passages = chunk("word " * 100, 50, 12)
    assert {word for passage in passages for word in passage.split()} == {"word"}
    assert chunk("x" * 25, 10, 0) == ["x" * 10, "x" * 10, "x" * 5]


def test_short_text_is_one_passage() -> None:
    assert chunk("  one. two.  ", 100, 20) == ["one. two."]
    assert chunk(" \n ", 100, 20) == []
