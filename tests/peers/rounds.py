"""Rounds of contestants, and when they will be done."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence

from sharpen.progress import clock

# A run that took less was found finished and says nothing of how long the others will take.
_FOUND_FINISHED = 1.0


def in_turn(names: Sequence[str], round_: int) -> list[str]:
    """The contestants of a round: each starts with another one, so that none always follows the same one."""
    turn = round_ % len(names)
    return [*names[turn:], *names[:turn]]


class Schedule:
    """Prints, after every process, what it took and when all will be done.

    Args:
        what: begins each line.
        names: the contestants.
        rounds: how often each of them runs.
    """

    def __init__(self, what: str, names: Sequence[str], rounds: int) -> None:
        self.what, self.rounds = what, rounds
        self.left = dict.fromkeys(names, rounds)
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.last = time.monotonic()

    def ended(self, name: str, found: str) -> None:
        """One run of this contestant is done; `found` is what it showed."""
        now = time.monotonic()
        if now - self.last >= _FOUND_FINISHED:
            self.seconds[name].append(now - self.last)
        self.last = now
        self.left[name] -= 1
        print(
            f"{self.what}, run {self.rounds - self.left[name]}/{self.rounds}: {name}: {found}; "
            f"about {clock(self.seconds_left())} left",
            flush=True,
        )

    def seconds_left(self) -> float:
        """By the means of what was seen; a contestant that has not run yet counts as the mean of the others."""
        means = {name: statistics.mean(seen) for name, seen in self.seconds.items()}
        usual = statistics.mean(means.values()) if means else float("inf")
        return sum(count * means.get(name, usual) for name, count in self.left.items() if count)
