"""What sorting says of keys is what plain sets and counters say."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpen.hardware import sorted_keys

KEYS = st.lists(st.sampled_from([0, 1, 2, 3, 5, 2**63, 2**64 - 1]), max_size=30)


@given(KEYS, KEYS)
def test_as_sets_and_counters_say(keys: list[int], others: list[int]) -> None:
    column, counts = pl.Series("key", keys, pl.UInt64), Counter(keys)
    assert sorted_keys.distinct(column) == len(counts)
    assert sorted_keys.repeated(column).to_list() == sorted(key for key, count in counts.items() if count > 1)
    assert sorted_keys.frequencies(column).tolist() == [count for _, count in sorted(counts.items())]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_keys, "_SLICE", 4)
        found = sorted_keys.common(column, pl.Series("other", others, pl.UInt64))
    assert found.to_list() == sorted(set(keys) & set(others)) and found.dtype == pl.UInt64
