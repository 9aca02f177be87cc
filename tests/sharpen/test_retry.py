"""Waiting for a server: budget, pauses, who is told and how often."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Callable

import pytest

from sharpen import http_api, retry
from sharpen.http_api import ApiError, Server


class Away(Exception):
    """No answer."""


class Busy(Away):
    """Too many requests."""

    retry_after = 0.3


def failing(times: int, error: type[Exception] = Away) -> Callable[[float], list[float]]:
    """A call that fails so often and then returns the seconds that were left for each of its tries."""
    left: list[float] = []

    def call(seconds: float) -> list[float]:
        left.append(seconds)
        if len(left) <= times:
            raise error(f"try {len(left)}")
        return left

    return call


def budget_of(seconds: float) -> Callable[[Exception], float | None]:
    return lambda error: seconds if isinstance(error, Away) else None


def test_a_call_is_made_again_and_knows_how_much_time_is_left() -> None:
    left = retry.repeat(failing(3), "a server", budget_of(9.0), 9.0, first_pause=0.02)
    assert left[0] == 9.0 and len(left) == 4
    assert all(later < earlier for earlier, later in itertools.pairwise(left))


def test_the_budget_ends_the_tries_and_is_used_up() -> None:
    began = time.monotonic()
    with pytest.raises(Away, match=r"^try \d+") as caught:
        retry.repeat(failing(1000), "a server", budget_of(0.5), 0.5, first_pause=0.2)
    # 1,000 tries would take hours
    assert 0.5 <= time.monotonic() - began < 30
    assert re.fullmatch(r"try \d; given up after 0:\d\d", retry.explain(caught.value))
    assert retry.explain(caught.value, "what it was").startswith("what it was; given up after 0:")


def test_what_does_not_pass_is_raised_at_once() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        retry.repeat(failing(1000, ZeroDivisionError), "a server", budget_of(9.0), 9.0)
    assert str(caught.value) == retry.explain(caught.value) == "try 1"


def test_nobody_is_asked_earlier_than_it_wants_nor_after_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    retry.repeat(failing(2, Busy), "a server", budget_of(9.0), 9.0, first_pause=0.01)
    assert time.monotonic() - began >= 0.6
    monkeypatch.setattr(Busy, "retry_after", 60)
    began = time.monotonic()
    with pytest.raises(Busy):
        retry.repeat(failing(1000, Busy), "a server", budget_of(0.1), 0.1, first_pause=0.01)
    assert time.monotonic() - began < 30


def test_an_event_ends_the_waiting() -> None:
    enough = threading.Event()
    threading.Timer(0.1, enough.set).start()
    began = time.monotonic()
    with pytest.raises(Away), retry.until(enough):
        retry.repeat(failing(1000), "a server", budget_of(600), 600, first_pause=60)
    assert time.monotonic() - began < 30


def test_a_line_a_minute_says_what_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(retry, "FIRST_LINE_SECONDS", 0.1)
    monkeypatch.setattr(retry, "LINE_SECONDS", 0.3)
    began = time.monotonic()
    back = began + 1.2

    def call(_: float) -> None:
        if time.monotonic() < back:
            raise Away("no answer")

    pauses = {"first_pause": 0.1, "longest_pause": 0.1}
    arguments = (call, "a server", budget_of(9.0), 9.0)
    threads = [threading.Thread(target=retry.repeat, args=arguments, kwargs=pauses) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = capsys.readouterr().err.splitlines()
    # of all threads together
    assert 3 <= len(lines) <= 3 + (time.monotonic() - began) / 0.3
    assert re.fullmatch(r"waiting for a server \(for 0:0\d, at most 0:09\): no answer", lines[0])
    assert re.fullmatch(r"a server answers again, after 0:0[1-9]", lines[-1])


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_the_budget_is_a_setting(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    assert retry.budget_seconds("SHARPEN_TEST_TIMEOUT") == 600
    monkeypatch.setenv("SHARPEN_TEST_TIMEOUT", "20")
    with retry.at_most(7):
        assert retry.budget_seconds("SHARPEN_TEST_TIMEOUT") == 7
    assert retry.budget_seconds("SHARPEN_TEST_TIMEOUT") == 20
    monkeypatch.setenv("SHARPEN_TEST_TIMEOUT", text)
    with pytest.raises(retry.InputError, match=f"SHARPEN_TEST_TIMEOUT: '{text}' is not a number of seconds"):
        retry.budget_seconds("SHARPEN_TEST_TIMEOUT")


def test_an_api_that_never_answered_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its first answer, which may be a refusal, the address may be wrong."""
    monkeypatch.setattr(retry, "FIRST_CONTACT_SECONDS", 0.1)
    monkeypatch.setenv(http_api.TIMEOUT_VARIABLE, "1.5")
    server = Server("an API", False, None, 0.05, 0.1)

    def seconds(*statuses: int) -> float:
        answers = iter(statuses)

        def request(_: float) -> None:
            if status := next(answers, statuses[-1]):
                raise ApiError(status, "no")
            raise ApiError(0, "no answer")

        began = time.monotonic()
        with pytest.raises(ApiError):
            server.call(request, lambda error: error.passing)
        return time.monotonic() - began

    assert 0.1 <= seconds(0) < 1.5
    assert 1.5 <= seconds(0, 503) < 30
    assert 1.5 <= seconds(0) < 30
    assert seconds(403) < 0.1
