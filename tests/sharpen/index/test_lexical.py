"""BM25 against its formula, written out, and its order of equal scores."""

from __future__ import annotations

import math
import random
import re
from typing import get_args

import numpy as np
import pytest

from sharpen.index.lexical import Bm25
from sharpen.index.settings import Bm25Language

WORDS = "river tree moon milk winter train doctor yellow number sugar".split()


def formula(passages: list[str], query: str, k1: float = 0.9, b: float = 0.4) -> list[float]:
    """BM25 as Lucene computes it (Kamphuis et al. 2020), without its constant factor k1 + 1."""
    texts = [re.findall(r"\w+", passage.lower()) for passage in passages]
    mean = sum(map(len, texts)) / len(texts)
    scores = [0.0] * len(texts)
    for word in re.findall(r"\w+", query.lower()):
        holding = sum(word in text for text in texts)
        idf = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        for number, text in enumerate(texts):
            count = text.count(word)
            scores[number] += idf * count / (count + k1 * (1 - b + b * len(text) / mean))
    return scores


def test_scores_are_those_of_the_formula() -> None:
    draw = random.Random(1)
    passages = [" ".join(draw.choices(WORDS, k=draw.randint(1, 12))).title() for _ in range(40)]
    queries = [" ".join(draw.choices([*WORDS, "unknown"], k=draw.randint(1, 6))) for _ in range(10)]
    index = Bm25(passages, "none")
    for query, (real, scores) in zip(queries, index.ranked(queries, 15), strict=True):
        expected = np.array(formula(passages, query))
        np.testing.assert_allclose(index.scores(query), expected, rtol=1e-5)
        np.testing.assert_array_equal(scores, index.scores(query)[real])
        assert (np.diff(expected[real]) <= 1e-6).all() and (expected[real] > 0).all()
        assert len(real) == min(15, np.count_nonzero(expected))
        assert expected[real].min(initial=np.inf) >= np.sort(expected)[::-1][: len(real)].min(initial=np.inf) - 1e-6


def rows(passages: list[str], query: str, depth: int, language: Bm25Language = "none") -> list[int]:
    return Bm25(passages, language).best(query, depth)[0].tolist()


def test_equal_scores_are_ordered_by_row_at_the_last_rank_too() -> None:
    assert rows(["river tree"] + [f"river x{number}" for number in range(20)], "river", 5) == [0, 1, 2, 3, 4]


def test_what_shares_no_word_is_not_ranked() -> None:
    passages = ["river", "moon", "milk"]
    assert [rows(passages, query, 3) for query in ("river moon", "sugar", "...")] == [[0, 1], [], []]


def test_stems_and_stop_words_of_a_language() -> None:
    passages = ["running rivers", "the moon", "Bäume"]
    assert rows(passages, "the runs", 3, "english") == [0]
    assert rows(passages, "the runs", 3) == [1]


@pytest.mark.parametrize("language", get_args(Bm25Language))
def test_every_language_of_the_settings_works(language: Bm25Language) -> None:
    assert rows(["river", "moon", "milk"], "moon", 2, language) == [1]
