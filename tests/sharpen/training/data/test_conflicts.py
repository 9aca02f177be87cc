"""Unmasked, rows of the same query text or positive stay out of each other's batches, where that is possible."""

from __future__ import annotations

import collections
import itertools
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sharpen.data.dataset import QUERIES, DataSet
from sharpen.data.text import normalize
from sharpen.training.data.build_dataset import make_examples
from sharpen.training.data.examples import Examples
from sharpen.training.data.sampler import BatchSampler
from sharpen.training.settings import TrainingSettings
from tests.sharpen.training.small_data import small_negatives


def made(
    texts: list[str], positives: list[list[int]], sources: list[str] | None = None, **values: Any
) -> tuple[Examples, BatchSampler]:
    """Queries of some texts with some passages as positives."""
    passages = max(itertools.chain(*positives)) + 6
    corpus = {"passage_id": [f"p{n}" for n in range(passages)], "title": [""] * passages}
    rows = [(f"q{n}", text, "train", (sources or ["a"] * len(texts))[n], None, None) for n, text in enumerate(texts)]
    judged = [(f"q{n}", f"p{one}", 1, "train") for n, found in enumerate(positives) for one in sorted(set(found))]
    data = DataSet(
        corpus=pl.DataFrame({**corpus, "text": [f"passage {n}" for n in range(passages)]}),
        queries=pl.DataFrame(rows, schema=QUERIES, orient="row"),
        qrels=pl.DataFrame(judged, schema=["query_id", "passage_id", "grade", "split"], orient="row").cast(
            {"grade": pl.Int32}
        ),
    )
    settings = TrainingSettings.checked({"train_group_size": 2, "mask_false_negatives": False, **values})
    examples = make_examples(data, small_negatives(data, 0), settings)
    return examples, BatchSampler(examples, settings)


def meet(examples: Examples, queries: np.ndarray) -> int:
    """Rows of a batch that share text or a positive with another one of it, by comparing all with all."""
    known = [
        {("query", normalize(examples.queries[row])), *examples.positives[row].tolist()} for row in queries.tolist()
    ]
    return sum(any(one & other for j, other in enumerate(known) if j != i) for i, one in enumerate(known))


def epoch(batches: BatchSampler, number: int) -> list[np.ndarray]:
    return [batches.batch(number * batches.per_epoch + place).queries for place in range(batches.per_epoch)]


def assert_all_once_and_nobody_meets(examples: Examples, batches: BatchSampler, size: int) -> None:
    for number in range(3):
        found = epoch(batches, number)
        assert sorted(np.concatenate(found).tolist()) == list(range(len(examples)))
        assert max(map(len, found)) <= size
        assert [meet(examples, queries) for queries in found] == [0] * len(found)
    assert not any("mask_false_negatives" in line for line in batches.warnings())


def test_equal_texts_and_equal_positives_never_meet() -> None:
    """24 queries: each text three times, each positive of the rest twice; without care most batches would have some."""
    texts = [f"text {n // 3}" if n < 12 else f"text {n}" for n in range(24)]
    positives = [[n] if n < 12 else [n // 2 + 20] for n in range(24)]
    examples, batches = made(texts, positives, train_batch_size=6)
    assert batches.per_epoch == 4
    assert_all_once_and_nobody_meets(examples, batches, 6)
    assert not np.array_equal(np.concatenate(epoch(batches, 0)), np.concatenate(epoch(batches, 1)))
    again = made(texts, positives, train_batch_size=6)[1]
    for step in (9, 2, 0):
        assert np.array_equal(again.batch(step).queries, batches.batch(step).queries)
    # The same with the loss masking them, or with nothing shared: plain batches.
    masked = made(texts, positives, train_batch_size=6, mask_false_negatives=True)[1]
    assert sum(meet(examples, queries) for queries in epoch(masked, 0)) > 0
    drawn = np.random.default_rng([42, 0, 0]).permutation(24)
    assert np.array_equal(np.concatenate(epoch(masked, 0)), drawn)
    other = made([f"text {n}" for n in range(24)], [[n] for n in range(24)], train_batch_size=6)[1]
    assert np.array_equal(np.concatenate(epoch(other, 0)), drawn)


def test_a_chain_of_shared_positives() -> None:
    """q0-p0-q1-p1-q2 ...: all are connected, only neighbours share one, and half of all go into one batch."""
    examples, batches = made([f"text {n}" for n in range(40)], [[n, n + 1] for n in range(40)], train_batch_size=20)
    assert batches.per_epoch == 2
    assert_all_once_and_nobody_meets(examples, batches, 20)


def test_each_source_apart_and_repeated_queries() -> None:
    sources = ["a", "a", "b"] * 12
    texts = [f"text {n // 2}" for n in range(36)]
    chosen = {"train_batch_size": 4, "same_dataset_within_batch": True, "source_temperature": 3}
    examples, batches = made(texts, [[n] for n in range(36)], sources, **chosen)
    for queries in epoch(batches, 0) + epoch(batches, 1):
        assert len(set(examples.source[queries].tolist())) == 1
        assert len(set(queries.tolist())) == len(queries) <= 4
        assert meet(examples, queries) == 0


def test_a_source_without_in_batch_negatives_may_meet() -> None:
    sources = ["labels"] * 20 + ["a"] * 4
    positives = [[0] for _ in range(20)] + [[n] for n in range(1, 5)]
    texts = [f"text {n}" for n in range(24)]
    _, batches = made(texts, positives, sources, train_batch_size=6, no_inbatch_sources=["labels"])
    assert batches.warnings() == []


def test_what_is_impossible_is_counted_and_named() -> None:
    """Ten of twelve queries have one positive, in three batches."""
    texts = [f"text {n}" for n in range(12)]
    examples, batches = made(texts, [[7]] * 10 + [[1], [2]], train_batch_size=4)
    found = epoch(batches, 0)
    assert sorted(np.concatenate(found).tolist()) == list(range(12))
    (told,) = batches.warnings()
    assert f"{sum(meet(examples, queries) for queries in found)} rows of an epoch" in told
    assert "most often it is the positive p7, which 10 queries have in 3 batches an epoch" in told
    _, batches = made(["the same"] * 9 + ["other"] * 3, [[n] for n in range(12)], train_batch_size=4)
    assert "most often it is the text of query q0, which 9 queries have" in batches.warnings()[0]


@hypothesis_settings(max_examples=12, deadline=None)
@given(groups=st.lists(st.integers(1, 4), min_size=3, max_size=20), size=st.integers(2, 8), seed=st.integers(0, 1000))
def test_groups_no_larger_than_the_number_of_batches_never_meet(groups: list[int], size: int, seed: int) -> None:
    texts = [f"text {number}" for number, times in enumerate(groups) for _ in range(times)]
    examples, batches = made(texts, [[n] for n in range(len(texts))], train_batch_size=size, seed=seed)
    most = max(collections.Counter(texts).values())
    expected = 0 if most <= batches.per_epoch else None
    found = [meet(examples, queries) for queries in epoch(batches, 0)]
    assert batches.per_epoch == -(-len(texts) // size)
    if expected == 0:
        assert sum(found) == 0
    else:
        assert sum(found) > 0 and batches.warnings()
