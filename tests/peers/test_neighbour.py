"""The neighbour really takes a core, and is gone afterwards."""

from __future__ import annotations

import time

import psutil
import pytest

from tests.peers.neighbour import neighbours


def test_it_computes_while_the_block_lasts_and_no_longer() -> None:
    before = {child.pid for child in psutil.Process().children()}
    with neighbours(2):
        time.sleep(1.5)
        found = [child for child in psutil.Process().children() if child.pid not in before]
        assert len(found) == 2
        # half of a core on a machine with other work
        assert all(sum(child.cpu_times()[:2]) > 0.1 for child in found)
    assert {child.pid for child in psutil.Process().children()} <= before


def test_one_that_ended_early_spoils_the_measurement() -> None:
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(RuntimeError, match="1 of 1 neighbours ended"), neighbours(1):
        (one,) = [child for child in psutil.Process().children() if child.pid not in before]
        one.kill()
        deadline = time.monotonic() + 10
        while one.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.01)
