"""A slice of the fuzzer: mutated input of every format, with fixed seeds."""

from __future__ import annotations

import pytest

from tests.fuzz_inputs import FORMATS
from tests.fuzz_readers import fuzz


@pytest.mark.parametrize("name", FORMATS)
def test_mutated_input_is_read_or_refused_in_plain_lines(name: str) -> None:
    outcomes, failures = fuzz(name, range(40))
    assert not failures and outcomes.total() == 40
