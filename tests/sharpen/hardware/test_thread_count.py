"""Half of the threads are taken where they clearly do more together; what is measured is real work."""

from __future__ import annotations

import pytest
import torch

from sharpen.hardware import thread_count


@pytest.mark.parametrize(
    ("cores", "rates", "taken"),
    [
        (8, {8: 100.0, 4: 114.0}, 8),  # nearly equal: all
        (8, {8: 100.0, 4: 116.0}, 4),  # two threads a core, or a quota of the processor
        (3, {3: 100.0, 1: 200.0}, 1),
        (1, {}, 1),
    ],
)
def test_half_must_be_clearly_faster(
    cores: int, rates: dict[int, float], taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_count, "passes_a_second", lambda threads: rates[threads])
    assert thread_count.fast_thread_count(cores) == taken


def test_passes_of_all_threads_are_counted() -> None:
    before = torch.get_num_threads()
    assert thread_count.passes_a_second(1) > 0
    assert thread_count.passes_a_second(2) > 0
    torch.set_num_threads(before)
