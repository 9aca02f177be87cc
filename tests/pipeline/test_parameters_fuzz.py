"""A slice of the fuzzer of settings, with fixed seeds."""

from __future__ import annotations

import pytest

from tests.fuzz_settings import KINDS, fuzz


@pytest.mark.parametrize("kind", KINDS)
def test_odd_settings_are_taken_or_refused_in_plain_lines(kind: str) -> None:
    outcomes, failures = fuzz(kind, range(150))
    assert not failures and outcomes.total() == 150
