"""Nothing is shared between splits, the shares are about right, and a query keeps its split."""

from __future__ import annotations

import math
from collections.abc import Mapping

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpen.data.dataset import CORPUS, DataSet
from sharpen.data.preparation.splits.assignment import LEAST_OF_TARGET, MOST_OF_TARGET, TRAIN, Slice, assign, lot
from sharpen.data.preparation.splits.components import GROUPS, components_of
from sharpen.data.preparation.working_set import WorkingSet

KEYS = {"text_key": pl.UInt64}
NO_GROUPS = pl.DataFrame(schema=GROUPS)


def components_by_search(
    pairs: list[tuple[str, str]], texts: dict[str, str], groups: dict[str, set[str]]
) -> list[set[str]]:
    """The components by a plain search, as an independent reference."""
    touches = {
        query: {f"t{texts[query]}"} | {f"g{group}" for group in groups.get(texts[query], set())} for query in texts
    }
    for query, passage in pairs:
        touches[query].add(f"p{passage}")
    left, found = set(texts), []
    while left:
        component, border = set(), {min(left)}
        while border:
            component |= border
            nodes = set().union(*(touches[query] for query in component))
            border = {query for query in left - component if touches[query] & nodes}
        left -= component
        found.append(component)
    return found


def names_of(queries: pl.DataFrame, positives: pl.DataFrame, groups: pl.DataFrame = NO_GROUPS) -> list[str]:
    passages = pl.DataFrame(schema=CORPUS)
    data = DataSet(passages, queries.with_columns(text=pl.lit(""), split=pl.lit("train")), in_train(positives))
    components = components_of(queries["text_key"], WorkingSet(data).shared_positives(), groups)
    return components.names(components.labels).to_list()


def in_train(positives: pl.DataFrame) -> pl.DataFrame:
    return positives.with_columns(grade=pl.lit(1, pl.Int32), split=pl.lit("train"))


@given(
    pairs=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=20),
    texts=st.lists(st.integers(0, 10), min_size=13, max_size=13),
    groups=st.lists(st.tuples(st.integers(0, 10), st.integers(0, 4)), max_size=6),
)
def test_components_equal_a_plain_search(pairs, texts, groups) -> None:
    text_of = {f"q{number}": text for number, text in enumerate(texts)}
    edges = [(f"q{query}", f"p{passage}") for query, passage in pairs]
    group_rows = sorted({(text, f"file{group}") for text, group in groups})
    queries = pl.DataFrame({"query_id": list(text_of), "text_key": list(text_of.values())}, schema_overrides=KEYS)
    positives = pl.DataFrame(edges, schema={"query_id": pl.String, "passage_id": pl.String}, orient="row")
    names = names_of(queries, positives, pl.DataFrame(group_rows, schema=GROUPS, orient="row"))
    found: dict[str, set[str]] = {}
    for query, name in zip(text_of, names, strict=True):
        found.setdefault(name, set()).add(query)
    groups_of: dict[str, set[str]] = {}
    for text, group in group_rows:
        groups_of.setdefault(text, set()).add(group)
    expected = components_by_search(edges, text_of, groups_of)
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, expected))


def test_the_name_of_a_component_does_not_depend_on_ids_or_order() -> None:
    queries = pl.DataFrame({"query_id": ["a", "b", "c"], "text_key": [3, 1, 2]}, schema_overrides=KEYS)
    positives = pl.DataFrame({"query_id": ["a", "b", "c"], "passage_id": ["x", "x", "y"]})
    names = names_of(queries, positives)
    assert names[0] == names[1] != names[2]
    renamed = queries.with_columns(query_id=pl.Series(["z", "y", "x"]))[::-1]
    moved = positives.with_columns(query_id=pl.Series(["z", "y", "x"]), passage_id=pl.Series(["2", "2", "1"]))
    assert names_of(renamed, moved) == names[::-1]
    files = pl.DataFrame({"text_key": [1, 2], "group": ["b.py", "a.py"]}, schema_overrides=KEYS)
    assert names_of(queries, positives, files) == ["0b.py", "0b.py", "0a.py"]


def test_lots_are_even_and_depend_on_the_seed() -> None:
    lots = [lot(1, str(number)) for number in range(4000)]
    assert all(0 <= value < 1 for value in lots)
    for tenth in range(10):
        assert 320 < sum(tenth / 10 <= value < (tenth + 1) / 10 for value in lots) < 480
    assert lot(1, "a") == lot(1, "a") != lot(2, "a")


SLICES = [Slice("test", 0.1, 10**6), Slice("dev", 0.05, 10**6)]


def assigned(sizes: Mapping[str, int], slices: list[Slice], seed: int, **more) -> dict[str, str]:
    newest = more.pop("newest", None)
    times = [(newest or {}).get(name) for name in sizes]
    schema = {"unit": pl.String, "size": pl.UInt32, "newest": pl.Int64}
    units = pl.DataFrame([list(sizes), list(sizes.values()), times], schema=schema)
    taken = assign(units, slices, seed, by_time=newest is not None, **more)
    return {units["unit"][row]: split for row, split in taken.items()}


def assigned_by_definition(
    sizes: Mapping[str, int], slices: list[Slice], seed: int, fixed: Mapping[str, int], newest: Mapping[str, int] | None
) -> dict[str, str]:
    """What `assign` says, by plain loops over all units, as an independent reference."""
    queries, taken, start = sum(sizes.values()) + sum(fixed.values()), {}, 0.0
    lots = {name: lot(seed, name) for name in sizes}
    for part in slices:
        left = [name for name in sizes if name not in taken and (newest is None or name in newest)]
        behind = {name: (lots[name] - start) % 1 for name in left}
        inside = {name for name in left if newest is None and behind[name] < part.share}
        left.sort(key=lambda name: (behind[name], name) if newest is None else (-newest[name], lots[name], name))
        least = (LEAST_OF_TARGET if newest is None else 1) * part.target(queries)
        most = min(math.ceil(MOST_OF_TARGET * part.target(queries)), part.most)
        chosen, total = [], fixed.get(part.split, 0)
        for name in left:
            if name not in inside and total >= least:
                break
            if sizes[name] <= part.largest(queries) and total + sizes[name] <= most:
                chosen.append(name)
                total += sizes[name]
        spare = len(sizes) - len(taken) - (0 if fixed.get(TRAIN) else 1)
        if not chosen and not fixed.get(part.split) and part.share and left and spare > 0:
            first = left[0] if newest else min(left, key=lambda name: (sizes[name], lots[name]))
            chosen = [first] if sizes[first] <= part.most else []
        taken |= dict.fromkeys(chosen[: max(0, spare)], part.split)
        start += part.share
    return taken


@given(
    sizes=st.dictionaries(st.integers(0, 10**6).map(str), st.sampled_from([1, 1, 1, 2, 3, 10, 50]), max_size=60),
    shares=st.tuples(st.sampled_from([0.0, 0.05, 0.1, 0.5]), st.sampled_from([0.0, 0.05, 0.3])),
    most=st.tuples(st.sampled_from([1, 5, 30, 10**6]), st.sampled_from([1, 7, 10**6])),
    fixed=st.dictionaries(st.sampled_from(["train", "dev", "test"]), st.integers(0, 20)),
    time_of=st.none() | st.integers(1, 5),
    seed=st.integers(0, 3),
)
def test_what_is_held_out_is_what_the_definition_says(sizes, shares, most, fixed, time_of, seed) -> None:
    slices = [Slice("test", shares[0], most[0]), Slice("dev", shares[1], most[1])]
    newest = time_of and {name: int(name) % time_of for name in sizes if int(name) % 5}
    expected = assigned_by_definition(sizes, slices, seed, fixed, newest)
    assert assigned(sizes, slices, seed, fixed=fixed, newest=newest) == expected


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_kept(seed: int) -> None:
    sizes = {f"file{number}": 1 + number % 40 for number in range(300)}
    taken = assigned(sizes, SLICES, seed)
    for part in SLICES:
        share = sum(sizes[name] for name, split in taken.items() if split == part.split) / sum(sizes.values())
        assert 0.9 * part.share <= share <= 1.1 * part.share + 0.005


def test_a_query_keeps_its_split_when_many_components_are_added() -> None:
    small = {f"c{number}": 1 for number in range(5000)}
    large = small | {f"new{number}": 1 for number in range(5000)}
    before, after = assigned(small, SLICES, 3), assigned(large, SLICES, 3)
    moved = [name for name in small if before.get(name) != after.get(name)]
    assert len(moved) < 0.01 * len(small)


def test_limits_and_huge_components() -> None:
    sizes = {"huge": 900, **{f"c{number}": 1 for number in range(100)}}
    for seed in range(20):
        taken = assigned(sizes, [Slice("test", 0.1, 30), Slice("dev", 0.05, 10**6)], seed)
        assert "huge" not in taken
        assert sum(sizes[name] for name, split in taken.items() if split == "test") in range(27, 31)


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.integers(1, 50), max_size=12),
    st.sampled_from([0.0, 0.05, 0.5]),
    st.sampled_from([0.0, 0.1, 0.4]),
    st.integers(0, 5),
)
def test_train_keeps_something_and_test_gets_something(sizes, test_share, dev_share, seed) -> None:
    taken = assigned(sizes, [Slice("test", test_share, 10**6), Slice("dev", dev_share, 10**6)], seed)
    assert set(taken) <= set(sizes)
    if sizes:
        assert len(taken) < len(sizes)
    assert ("test" in taken.values()) == (test_share > 0 and len(sizes) > 1)
    assert taken == assigned(
        dict(reversed(sizes.items())), [Slice("test", test_share, 10**6), Slice("dev", dev_share, 10**6)], seed
    )
