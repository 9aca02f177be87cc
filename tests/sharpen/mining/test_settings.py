"""Settings of mining: bounds, and faults in one line."""

from __future__ import annotations

import pytest

from sharpen.errors import InputError
from sharpen.mining.rank_range import rank_range
from sharpen.mining.settings import MiningSettings


def test_defaults_take_the_highest_ranks_that_the_margin_leaves() -> None:
    settings = MiningSettings.checked({})
    assert settings.ranks == (0, 210) and settings.negative_number == 15 and settings.sampling == "top"
    assert settings.relative_margin == 0.05
    assert MiningSettings.checked({"range_for_sampling": " 0 - 20 "}).range_for_sampling == "0-20"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"range_for_sampling": "210-10"}, "range_for_sampling: the start must be below the end"),
        ({"range_for_sampling": "10-10"}, "range_for_sampling: the start must be below the end"),
        ({"range_for_sampling": "10"}, "range_for_sampling: must be two whole numbers joined by '-'"),
        ({"range_for_sampling": "-5-10"}, "range_for_sampling: must be two whole numbers"),
        ({"range_for_sampling": "0-9999999"}, "range_for_sampling: must end at rank 100000"),
        ({"negative_number": 0}, "negative_number: "),
        ({"random_share": 1.5}, "random_share: "),
        ({"relative_margin": -0.1}, "relative_margin: "),
        ({"min_score": 0.9, "max_score": 0.1}, "min_score 0.9 is above max_score 0.1"),
        ({"on_inconsistent": "drop"}, "on_inconsistent: drop needs consistency_top"),
        ({"range_for_samplin": "1-2"}, "did you mean range_for_sampling"),
        ({"rescoring_max_score": 0.8}, "rescoring_max_score has no effect without rescoring_model"),
    ],
)
def test_bad_settings(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        MiningSettings.checked(values)
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize(
    ("passages", "expected", "notices"),
    [
        (1000, (10, 210, 200, 410), 0),
        (300, (10, 210, 90, 300), 0),
        (210, (10, 210, 0, 210), 0),
        (100, (10, 100, 0, 100), 1),
        (20, (5, 20, 0, 20), 1),
        (15, (0, 15, 0, 15), 2),
        (4, (0, 4, 0, 4), 2),
    ],
)
def test_the_range_is_clipped_to_a_small_corpus_and_said_so(passages: int, expected: tuple, notices: int) -> None:
    scope = rank_range(MiningSettings.checked({"range_for_sampling": "10-210"}), passages)
    assert (scope.start, scope.end, scope.further, scope.depth) == expected
    assert len(scope.notices) == notices


def test_the_search_is_deep_enough_for_the_report() -> None:
    settings = MiningSettings.checked({"range_for_sampling": "0-5", "negative_number": 5, "top_up": "random"})
    assert rank_range(settings, 1000).depth == 100
    assert rank_range(settings.model_copy(update={"consistency_top": 500}), 1000).depth == 500
