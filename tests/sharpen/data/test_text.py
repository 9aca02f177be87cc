"""The keys of a column are those of its texts, whatever is in them."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpen.data import text as of_text
from sharpen.data.text import text_key, text_keys

PIECES = ["a", "Z", "@", "[", "{", "~", " ", "  ", "\n", "\x00", "\x7f", "\u00a0", "Ä", "ß", "ﬁ", "１", "日本", "😀"]


@given(
    texts=st.lists(st.none() | st.lists(st.sampled_from(PIECES), max_size=6).map("".join), max_size=30),
    start=st.integers(0, 5),
    at_once=st.sampled_from([1, 2, 7, 1000]),
)
def test_keys_of_a_column_are_those_of_its_texts(texts, start, at_once) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of_text, "_SLICE", at_once)
        found = text_keys(pl.Series(texts, dtype=pl.String)[start:])
    assert found.name == "text_key" and found.dtype == pl.UInt64
    assert found.to_list() == [None if text is None else text_key(text) for text in texts[start:]]
