"""The mining step between its KFP face and the library."""

from __future__ import annotations

import pytest

from components.hard_negatives.step import run_step
from sharpen.errors import InputError


def test_mining_that_is_switched_off_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    result = run_step("nowhere", "no data", "no model", '{"enabled": false}', "{}")
    assert (result.address, result.facts) == ("", {})
    assert "mining.enabled is false" in result.page
    assert "mining.enabled is off" in capsys.readouterr().out
    with pytest.raises(InputError):
        run_step("nowhere", "no data", "no model", '{"enabled": 3}', "{}")
