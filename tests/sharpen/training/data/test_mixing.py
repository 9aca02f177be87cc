"""How sources share an epoch, and how repeated queries are spread over its batches."""

from __future__ import annotations

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpen.training.data.mixing import cut, epoch_queries, source_quota
from sharpen.training.settings import TrainingSettings
from tests.sharpen.training.small_data import parts

COUNTS = st.lists(st.integers(1, 3000), min_size=1, max_size=8)


def test_shares_by_hand() -> None:
    counts = np.array([1000, 10])
    assert source_quota(counts, 1.0, None).tolist() == [1000, 10]
    # sqrt(1000) : sqrt(10) = 10 : 1
    assert source_quota(counts, 2.0, None).tolist() == [918, 92]
    assert source_quota(counts, 1000.0, None).tolist() == [506, 504]
    # a query at most 16 times: what the small source cannot take goes to the large one
    assert source_quota(counts, 1000.0, 16).tolist() == [850, 160]
    assert source_quota(counts, 1000.0, 1).tolist() == [1000, 10]
    # 1000 : 10 * 25 = 4 : 1
    assert source_quota(counts, 1.0, None, [1, 25]).tolist() == [808, 202]
    # no source is left out, however little it weighs
    assert source_quota(np.array([5, 10, 1]), 1.0, 3, [1000, 1, 1e-9]).tolist() == [14, 1, 1]


@settings(max_examples=200)
@given(
    counts=COUNTS,
    repeats=st.none() | st.integers(1, 50),
    weights=st.lists(st.floats(1e-6, 1e6), min_size=8, max_size=8),
)
def test_weighted_shares_are_whole_bounded_and_sum_to_the_data(
    counts: list[int], repeats: int | None, weights: list[float]
) -> None:
    given_counts = np.array(counts)
    found = source_quota(given_counts, 1.0, repeats, weights[: len(counts)])
    assert found.sum() == given_counts.sum() and found.min() >= 1
    if repeats is not None:
        assert (found <= given_counts * repeats).all()


@settings(max_examples=200)
@given(counts=COUNTS, temperature=st.floats(1, 1000), repeats=st.none() | st.integers(1, 50))
def test_shares_are_whole_bounded_and_sum_to_the_data(
    counts: list[int], temperature: float, repeats: int | None
) -> None:
    given_counts = np.array(counts)
    found = source_quota(given_counts, temperature, repeats)
    assert found.sum() == given_counts.sum()
    assert found.min() >= 1
    if repeats is not None:
        assert (found <= given_counts * repeats).all()
    order = np.argsort(given_counts, kind="stable")
    # a larger source never has the smaller share, but for rounding
    assert (np.diff(found[order]) >= -1).all()
    assert np.array_equal(source_quota(given_counts, 1.0, repeats), given_counts)


def test_walk_shows_every_query_equally_often_over_the_epochs() -> None:
    rows = np.arange(100, 110)
    seen: collections.Counter[int] = collections.Counter()
    for epoch in range(10):
        chosen = epoch_queries(rows, 23, epoch, [1, 2])
        assert len(chosen) == 23
        assert set(np.unique(chosen, return_counts=True)[1]) == {2, 3}
        seen.update(chosen.tolist())
    assert set(seen.values()) == {23}
    part = np.concatenate([epoch_queries(rows, 4, epoch, [1, 2]) for epoch in range(5)])
    assert sorted(part.tolist()) == sorted([*rows.tolist(), *rows.tolist()])
    assert all(len(set(epoch_queries(rows, 4, epoch, [1, 2]).tolist())) == 4 for epoch in range(5))


@settings(max_examples=100)
@given(times=st.lists(st.integers(1, 6), min_size=1, max_size=40), size=st.integers(1, 12), seed=st.integers(0, 10))
def test_cut_has_no_query_twice_in_a_batch(times: list[int], size: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    order = draw.permutation(np.repeat(np.arange(len(times)), times))
    batches = cut(order, size, draw)
    assert sorted(np.concatenate(batches).tolist()) == sorted(order.tolist())
    for batch in batches:
        assert len(set(batch.tolist())) == len(batch) <= size
    assert max(map(len, batches)) - min(map(len, batches)) <= 1
    assert len(batches) == max(-(-len(order) // size), max(times))


SOURCES = ("a", "a", "a", "a", "a", "b")


def chosen(**values: object) -> TrainingSettings:
    return TrainingSettings.checked({"train_batch_size": 6, "train_group_size": 4, **values})


@pytest.mark.parametrize("same", [False, True])
def test_an_epoch_by_temperature(same: bool) -> None:
    mixed = chosen(source_temperature=2, same_dataset_within_batch=same)
    examples, batches = parts(mixed, queries=48, sources=SOURCES)
    name = np.array(examples.sources)[examples.source]
    assert collections.Counter(name.tolist()) == {"a": 40, "b": 8}
    # sqrt(40) : sqrt(8) = 2.236 : 1
    assert batches.source_shares.tolist() == [33, 15]
    epochs = []
    for epoch in range(3):
        made = [batches.batch(epoch * batches.per_epoch + place).queries for place in range(batches.per_epoch)]
        for queries in made:
            assert 1 <= len(set(queries.tolist())) == len(queries) <= 6
            assert not same or len(set(name[queries])) == 1
        epochs.append(np.concatenate(made))
        assert len(epochs[-1]) == 48
        assert (name[epochs[-1]] == "a").sum() == 33
    assert sorted(epochs[0].tolist()) != sorted(epochs[1].tolist())
    assert set(np.concatenate(epochs).tolist()) == set(range(48))
    again = parts(mixed, queries=48, sources=SOURCES)[1]
    for step in (2 * batches.per_epoch, 5, 0):
        assert np.array_equal(again.batch(step).queries, batches.batch(step).queries)
        assert np.array_equal(again.batch(step).groups, batches.batch(step).groups)


def test_temperature_1_is_every_query_once_in_an_order_of_seed_and_epoch() -> None:
    _, batches = parts(chosen(), queries=48, sources=SOURCES)
    for epoch in range(2):
        made = [batches.batch(epoch * 8 + place).queries for place in range(8)]
        assert np.array_equal(np.concatenate(made), np.random.default_rng([42, epoch, 0]).permutation(48))


def test_an_epoch_by_weights() -> None:
    examples, batches = parts(chosen(source_weights={"b": 2.5}), queries=48, sources=SOURCES)
    # 40 : 8 * 2.5 = 2 : 1
    assert batches.source_shares.tolist() == [32, 16] and batches.warnings() == []
    name = np.array(examples.sources)[examples.source]
    made = np.concatenate([batches.batch(step).queries for step in range(batches.per_epoch)])
    assert (name[made] == "b").sum() == 16
    (told,) = parts(chosen(source_weights={"b": 100}, train_batch_size=24), queries=48, sources=SOURCES)[1].warnings()
    assert "source b: its weight asks for" in told and "lower its weight or train_batch_size" in told


def test_a_source_that_cannot_be_repeated_as_often_as_asked_is_named() -> None:
    _, batches = parts(chosen(source_temperature=1000, train_batch_size=24), queries=48, sources=SOURCES)
    # two batches, so each of the 8 queries of b at most twice, where 24 of them were asked for
    assert batches.source_shares.tolist() == [32, 16]
    (told,) = batches.warnings()
    assert "source b: source_temperature asks for 24 of its 8 queries an epoch, but 16 are all that fit" in told
    assert "lower source_temperature" in told
