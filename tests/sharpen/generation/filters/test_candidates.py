"""Generated queries that repeat another one, to the letter or nearly, are marked; the user's own count as seen."""

from __future__ import annotations

import pytest

from sharpen.data.preparation.checks.near_duplicates import near_duplicates
from sharpen.generation.filters.candidates import Candidate, mark_repeats

LONG = "how do i replace the worn brake pads of the rear wheel on a mountain bike"
NEARLY = LONG + " myself"


def _marked(texts: list[str], known: list[str], *, near: bool = True) -> list[str]:
    candidates = [Candidate(text, "question", (0,), "model") for text in texts]
    mark_repeats(candidates, known, near=near)
    return [one.fault for one in candidates]


def test_repeats_are_marked_as_data_preparation_counts_them() -> None:
    assert near_duplicates([LONG, NEARLY]).height == 1
    texts = [LONG, "How do I replace " + LONG[17:], NEARLY, "which oil does the fork need"]
    assert _marked(texts, []) == ["", "equal_query", "near_duplicate", ""]
    assert _marked(texts, [NEARLY]) == ["near_duplicate", "equal_query", "equal_query", ""]
    assert _marked(texts, [NEARLY], near=False) == ["", "equal_query", "equal_query", ""]


def test_the_same_words_in_another_order_are_another_query() -> None:
    assert near_duplicates(["from oslo to rome by train", "from rome to oslo by train"]).is_empty()
    assert _marked(["from oslo to rome by train", "from rome to oslo by train"], []) == ["", ""]


@pytest.mark.parametrize("known", [[], [LONG]])
def test_of_no_candidate_nothing_is_marked(known: list[str]) -> None:
    assert _marked([], known) == []
