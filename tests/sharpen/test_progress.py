"""Progress lines of a log."""

from __future__ import annotations

import pytest

from sharpen import progress as module
from sharpen.progress import clock, progress, speed


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with progress("Training", 4, "steps") as reporter:
        for loss in ("2.0", "1.5", "1.2", "1.0"):
            now[0] += 6
            reporter.advance(note=f"loss {loss}")
    assert capsys.readouterr().out.splitlines() == [
        "Training:  50 % · 2/4 steps · 6.0 s each · 0:12 left · loss 1.5",
        "Training: 100 % · 4/4 steps · 6.0 s each · 0:00 left · loss 1.0",
        "Training: 100 % · 4/4 steps · 6.0 s each · in 0:24 · loss 1.0",
    ]


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3723, "1:02:03"), (float("inf"), "?")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0, "?"), (0.4, "2.5 s each"), (1, "1.0 texts/s"), (12.34, "12.3 texts/s"), (8950.4, "8,950 texts/s")],
)
def test_speed(rate: float, text: str) -> None:
    assert speed(rate, "texts") == text


def test_a_total_that_is_known_only_later(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with progress("Encoding", 0, "tokens") as reporter:
        reporter.expect(400)
        now[0] += 10
        reporter.advance(100)
        reporter.expect(200)
        now[0] += 10
        reporter.advance(100)
    assert capsys.readouterr().out.splitlines() == [
        "Encoding:  25 % · 100/400 tokens · 10.0 tokens/s · 0:30 left",
        "Encoding: 100 % · 200/200 tokens · 10.0 tokens/s · 0:00 left",
        "Encoding: 100 % · 200/200 tokens · 10.0 tokens/s · in 0:20",
    ]


def test_less_than_a_unit_in_all(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with progress("reading", 0.0213, "MB") as reporter:
        now[0] += 0.001
        reporter.advance(0.0213)
    assert capsys.readouterr().out == "reading: 100 % · 0.021/0.021 MB · 21.3 MB/s · in 0:00\n"
