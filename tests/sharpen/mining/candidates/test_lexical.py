"""BM25 against its formula, written out, and its order of equal scores."""

from __future__ import annotations

import math
import random
import re
from typing import get_args

import numpy as np
import pytest

from sharpen.mining.candidates.lexical import Bm25
from sharpen.mining.corpus import MiningCorpus, build_corpus
from sharpen.mining.settings import MiningSettings
from tests.sharpen.mining.corpora import world

WORDS = "river tree moon milk winter train doctor yellow number sugar".split()


def a_pool(passages: list[str], queries: list[str]) -> MiningCorpus:
    made = world(
        [(f"q{number}", text, [1.0]) for number, text in enumerate(queries)],
        [(f"p{number:03}", text, [1.0]) for number, text in enumerate(passages)],
        [(f"q{number}", f"p{number:03}") for number in range(len(queries))],
    )
    return build_corpus(made.data, "data")


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
    pool = a_pool(passages, queries)
    index = Bm25(pool, "none")
    for query, ranked in zip(pool.queries, index.ranked(pool, 15), strict=True):
        expected = np.array(formula(pool.passages, query))
        np.testing.assert_allclose(index.scores(query), expected, rtol=1e-5)
        real = ranked[ranked >= 0]
        assert (np.diff(expected[real]) <= 1e-6).all() and (expected[real] > 0).all()
        assert len(real) == min(15, np.count_nonzero(expected))
        assert expected[real].min(initial=np.inf) >= np.sort(expected)[::-1][: len(real)].min(initial=np.inf) - 1e-6


def test_equal_scores_are_ordered_by_id_at_the_last_rank_too() -> None:
    pool = a_pool(["river tree"] + [f"river x{number}" for number in range(20)], ["river"])
    assert next(Bm25(pool, "none").ranked(pool, 5)).tolist() == [0, 1, 2, 3, 4]


def test_what_shares_no_word_is_not_ranked() -> None:
    pool = a_pool(["river", "moon", "milk"], ["river moon", "sugar", "..."])
    assert [row.tolist() for row in Bm25(pool, "none").ranked(pool, 3)] == [[0, 1, -1], [-1, -1, -1], [-1, -1, -1]]


def test_stems_and_stop_words_of_a_language() -> None:
    pool = a_pool(["running rivers", "the moon", "Bäume"], ["the runs"])
    english, none = Bm25(pool, "english"), Bm25(pool, "none")
    assert np.flatnonzero(english.scores("the runs")).tolist() == [0]
    assert np.flatnonzero(none.scores("the runs")).tolist() == [1]


@pytest.mark.parametrize("language", get_args(MiningSettings.model_fields["bm25_language"].annotation))
def test_every_language_of_the_settings_works(language: str) -> None:
    pool = a_pool(["river", "moon", "milk"], ["moon"])
    assert next(Bm25(pool, language).ranked(pool, 2)).tolist() == [1, -1]
