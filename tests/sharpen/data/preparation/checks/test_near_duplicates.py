"""Near duplicates against brute force, and what they say of the splits."""

from __future__ import annotations

import random
from itertools import pairwise

import polars as pl
import pytest

from sharpen.data.preparation.checks.near_duplicates import THRESHOLD, clusters, near_duplicates
from sharpen.data.preparation.checks.near_texts import near_texts
from sharpen.data.preparation.checks.sampling import sample_of_splits
from sharpen.data.text import text_keys

WORDS = [f"word{number}" for number in range(400)]


def jaccard(one: str, other: str) -> float:
    """Of words and pairs of neighbouring words, with sets of strings."""
    first, second = ({*words, *pairwise(words)} for words in (one.split(), other.split()))
    return len(first & second) / len(first | second)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """120 texts, and variants of each with some words changed."""
    rng = random.Random(1)
    made = []
    for _ in range(120):
        words = rng.choices(WORDS, k=rng.randint(3, 60))
        made.append(" ".join(words))
        for changed in (1, 2, 5):
            variant = list(words)
            for at in rng.sample(range(len(words)), min(changed, len(words))):
                variant[at] = rng.choice(WORDS)
            made.append(" ".join(variant))
    return made


def test_pairs_are_those_of_brute_force_with_their_similarity(texts: list[str]) -> None:
    exact = {
        (first, second): similarity
        for first in range(len(texts))
        for second in range(first + 1, len(texts))
        if (similarity := jaccard(texts[first], texts[second])) >= THRESHOLD
    }
    found = {(first, second): similarity for first, second, similarity in near_duplicates(texts).rows()}
    assert len(exact) > 100
    assert set(found) <= set(exact) and len(found) >= 0.97 * len(exact)
    assert found == pytest.approx({pair: exact[pair] for pair in found})


def test_spelling_does_not_count_and_order_of_words_does() -> None:
    found = near_duplicates(["How do I  reset it?", "how do i reset IT", "it reset I do how", ""])
    assert found.rows() == [(0, 1, 1.0)]


def test_scripts_without_spaces_are_compared_by_their_characters() -> None:
    texts = ["如何重置我的账户密码并登录系统", "如何重置我的账户密码并登录系统吗", "今天天气很好我们去公园散步吧"]
    assert [row[:2] for row in near_duplicates(texts).rows()] == [(0, 1)]


def test_many_equal_texts_are_one_cluster() -> None:
    texts = ["the same words here"] * 300 + ["another text altogether"]
    labels = clusters(near_duplicates(texts), len(texts))
    assert len(set(labels[:300])) == 1 and labels[300] != labels[0]


def test_nothing_is_no_pair() -> None:
    assert near_duplicates([]).is_empty() and near_duplicates(["", " "]).is_empty()


def table(rows: list[tuple[str, str]]) -> pl.DataFrame:
    texts = pl.DataFrame(rows, schema=["text", "split"], orient="row")
    return texts.with_columns(text_keys(texts["text"]))


def sampled(rows: list[tuple[str, str]]) -> pl.DataFrame:
    texts = table(rows)
    return texts[sample_of_splits(texts, 100)]


LONG = "how can a user of the service change the password of an account that was locked"


def test_a_near_leak_is_a_held_out_text_that_training_or_test_nearly_repeats() -> None:
    rows = [
        (LONG, "train"),
        (f"{LONG} today", "test"),
        ("where are the invoices of the last three years stored for my company", "test"),
        ("where are the invoices of the last three years stored for my company now", "dev"),
        ("a question that stands alone and is like no other one at all", "dev"),
        ("some passage of no query, in no split, with words of its own", ""),
        ("some passage of no query, in no split, with words of its own too", "train"),
    ]
    found = near_texts(table(rows), 7)
    assert found["counted"] == found["of"] == 7 and found["near_duplicates"] == 3
    assert found["leaks"] == {
        "dev": {"counted": 2, "near_leaks": 1, "share": 0.5},
        "test": {"counted": 2, "near_leaks": 1, "share": 0.5},
    }
    assert {tuple(one["splits"]) for one in found["leak_examples"]} <= {
        ("train", "test"),
        ("test", "train"),
        ("dev", "test"),
        ("test", "dev"),
    }
    assert len(found["leak_examples"]) == 2 and len(found["examples"]) == 3


def test_of_many_texts_a_sample_is_compared_half_of_it_held_out_whatever_their_order() -> None:
    rows = [(f"text number {n} about {n % 7}", "test" if n % 10 == 0 else "train") for n in range(600)]
    found = near_texts(sampled(rows), 600)
    assert (found["counted"], found["of"], found["leaks"]["test"]["counted"]) == (100, 600, 50)
    random.Random(3).shuffle(rows)
    assert near_texts(sampled(rows), 600) == found
