"""The statistics against scipy's and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from sharpen.diagnosis.statistics import share_above, share_bounds, thirds


@pytest.mark.parametrize(("count", "of"), [(0, 5), (3, 7), (50, 100), (99, 100), (1, 1)])
def test_shares_have_wilsons_interval(count: int, of: int) -> None:
    wilson = binomtest(count, of).proportion_ci(method="wilson")
    assert share_bounds(count, of) == pytest.approx((wilson.low, wilson.high), abs=1e-6)
    assert share_bounds(0, 0) == (0.0, 1.0)


def test_share_above_is_that_of_all_pairs() -> None:
    rng = np.random.default_rng(3)
    high, low = rng.integers(0, 6, 40), rng.integers(0, 6, 30)
    edges = list(range(7))
    made = [{"edges": edges, "counts": np.bincount(values, minlength=6).tolist()} for values in (high, low)]
    pairs = (high[:, None] > low[None]) + 0.5 * (high[:, None] == low[None])
    assert share_above(*made) == pytest.approx(pairs.mean())
    assert math.isnan(share_above(made[0], {"edges": [0, 1], "counts": [3]}))


def test_thirds_are_means() -> None:
    assert thirds([1, 2, 3, 4, 5, 6, 9]) == (1.5, 4.0, 7.5)
    assert all(map(math.isnan, thirds([1, 2])))
