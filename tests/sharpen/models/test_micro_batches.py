from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpen.models.micro_batches import micro_batches, padded_length


@given(st.lists(st.integers(1, 600), max_size=60), st.integers(1, 2048))
def test_every_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    lengths.sort(reverse=True)
    slices = micro_batches(lengths, budget)
    assert [row for start, end in slices for row in range(start, end)] == list(range(len(lengths)))
    for start, end in slices:
        assert end - start == 1 or padded_length(lengths[start]) * (end - start) <= budget
        # no row more would have fitted
        assert end == len(lengths) or padded_length(lengths[start]) * (end - start + 1) > budget


@pytest.mark.parametrize(("longest", "wide"), [(1, 8), (8, 8), (9, 16), (250, 256), (0, 0)])
def test_widths_are_multiples_of_eight(longest: int, wide: int) -> None:
    assert padded_length(longest) == wide
