"""What a step's log says: why it failed, what it waits for, how far it is, how the run ended."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from sharpen.errors import InputError
from sharpen.registry.outcome import find_block
from sharpen.terminal import one_line

_ERROR, _NOTE = "error: ", "note: "
# KFP's launcher, about the step's process
_EXIT = re.compile(r"failed to execute component\b.*?(?:exit status (\d+)|signal: (\w+))?$")
# what KFP's own programs say last
_FATAL = re.compile(r"^[EF]\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] (.+)$")
_PROGRESS = re.compile(r"^[^:]+: +\d+ % · .* left\b")
_JOB = re.compile(r"^job [\w.-]+: (queued|pending|running)$")
_MOST_FAULTS, _MOST_SIGNS = 10, 1000


@dataclass(frozen=True)
class StepLog:
    """The end of a step's log."""

    text: str

    @cached_property
    def lines(self) -> list[str]:
        """Its lines."""
        return [line.rstrip() for line in self.text.splitlines()]

    @cached_property
    def _exit(self) -> re.Match[str] | None:
        return next((found for line in reversed(self.lines) if (found := _EXIT.search(line))), None)

    @property
    def failed(self) -> bool:
        """The step's process has ended with a failure."""
        return self._exit is not None

    @property
    def is_user_error(self) -> bool:
        """The step said that the user's input is wrong."""
        return bool(self._exit and self._exit[1] == str(InputError.exit_code))

    @cached_property
    def reasons(self) -> list[str]:
        """Why the step failed, a line each; empty where the log does not say it."""
        ends = [number for number, line in enumerate(self.lines) if line.startswith(_ERROR)]
        process_ended = self._exit and (self._exit[1] or self._exit[2])
        if ends and (process_ended or not self._exit):
            first = ends[-1]
            while first and self.lines[first - 1].startswith(_ERROR):
                first -= 1
            faults = [line.removeprefix(_ERROR) for line in self.lines[first : ends[-1] + 1]]
            more = [f"and {len(faults) - _MOST_FAULTS} more"] if len(faults) > _MOST_FAULTS else []
            return [one_line(fault, _MOST_SIGNS) for fault in faults[:_MOST_FAULTS]] + more
        if self._exit and self._exit[2] == "killed":
            return ["its process was killed, as a rule because the pod ran out of memory: raise pods.memory"]
        fatal = next((found[1] for line in reversed(self.lines) if (found := _FATAL.match(line))), "")
        return [f"Kubeflow: {one_line(fatal, _MOST_SIGNS)}"] if fatal and not process_ended else []

    @cached_property
    def notes(self) -> list[str]:
        """What the step's job waits for, or which of its pods failed: the launcher's notes since its state changed."""
        states = [number for number, line in enumerate(self.lines) if _JOB.match(line)]
        if not states:
            return []
        since = self.lines[states[-1] :]
        runs = since[0].endswith("running")
        # a training has notes of its own
        marker = f"{_NOTE}pod " if runs else _NOTE
        notes = [one_line(line.removeprefix(_NOTE), _MOST_SIGNS) for line in since if line.startswith(marker)]
        return notes if runs else [since[0], *notes]

    @property
    def progress(self) -> str:
        """The last line about its progress since its job's state changed; empty for none."""
        for line in reversed(self.lines):
            if _PROGRESS.match(line):
                return one_line(line, _MOST_SIGNS)
            if _JOB.match(line):
                break
        return ""

    @property
    def outcome(self) -> tuple[str, list[str]] | None:
        """(verdict, lines) of the run's outcome; None where the log does not hold it."""
        return find_block(self.text)
