"""Many requests at once, each answered by the journal or by the endpoint, until all are done or the budget is spent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sharpen import retry
from sharpen.errors import StepFailed
from sharpen.language_model.budget import Budget
from sharpen.language_model.journal import Journal, Record
from sharpen.language_model.request import ChatRequest
from sharpen.progress import progress

# so many requests in a row that are refused, before any is answered, are a fault of all
REFUSED_IN_A_ROW = 10

Ask = Callable[[ChatRequest], Record]

Answer = TypeVar("Answer")


@dataclass
class Answers(Generic[Answer]):
    """What came of the requests.

    Attributes:
        valid: request's number -> the answer, and the model that gave it.
        requests: made now; answers from the journal are not among them.
        from_journal: answers of earlier runs.
        invalid: answers that were not what was asked for.
        refused: requests that the endpoint refused, and its words for the first of them.
        open: requests that were not made, as the budget was spent.
    """

    valid: dict[int, tuple[Answer, str]] = field(default_factory=dict)
    requests: int = 0
    from_journal: int = 0
    invalid: int = 0
    refused: int = 0
    refusals: list[str] = field(default_factory=list)
    open: int = 0


class Asking(Generic[Answer]):
    """One round of requests.

    Args:
        ask: the endpoint's.
        journal: open.
        budget: what may be spent.
        repeated: request's number and attempt, from 0 -> the request.
        parse: an answer -> what it says; None: it is not what was asked for.
        attempts: most of them for each request.
    """

    def __init__(
        self,
        ask: Ask,
        journal: Journal,
        budget: Budget,
        repeated: Callable[[int, int], ChatRequest],
        parse: Callable[[Record], Answer | None],
        attempts: int,
    ) -> None:
        self.ask, self.journal, self.budget, self.attempts = ask, journal, budget, attempts
        self.repeated, self.parse = repeated, parse
        self.answers: Answers[Answer] = Answers()
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def run(self, numbers: Sequence[int], concurrency: int, what: str) -> Answers[Answer]:
        """Ask for all requests of these `numbers`, `concurrency` at once; `what` is done is said with the progress.

        Raises:
            InputError, StepFailed: the endpoint cannot be used, or not for now; all that was answered is in the
                journal.
        """
        pending: set[Future[None]] = set()
        with (
            progress(what, len(numbers), "requests") as reporter,
            ThreadPoolExecutor(concurrency, thread_name_prefix="asking") as pool,
        ):
            try:
                for number in numbers:
                    if self._ended.is_set():
                        break
                    pending.add(pool.submit(self._answer, number))
                    if len(pending) >= concurrency:
                        done, pending = wait(pending, return_when=FIRST_COMPLETED)
                        _raise_first(done)
                        reporter.advance(len(done))
                done, pending = wait(pending)
                _raise_first(done)
                reporter.advance(len(done))
            except BaseException:
                # those under way end, and their answers are written
                self._ended.set()
                raise
        self.answers.open = len(numbers) - len(self.answers.valid) - self._given_up
        return self.answers

    _given_up = 0

    def _answer(self, number: int) -> None:
        for attempt in range(self.attempts):
            request = self.repeated(number, attempt)
            record = self._record(request)
            if record is None:
                self._ended.set()
                return
            self._count_refusal(record)
            answer = self.parse(record) if record.status == "answered" else None
            with self._lock:
                if answer is not None:
                    self.answers.valid[number] = answer, record.model
                    return
                self.answers.invalid += record.status == "answered"
            if record.status == "refused":
                break
        with self._lock:
            self._given_up += 1

    def _record(self, request: ChatRequest) -> Record | None:
        """The answer to a request; None where the budget does not allow it."""
        record = self.journal.get(request.key)
        if record is not None:
            self.budget.spend(record)
            with self._lock:
                self.answers.from_journal += 1
            return record
        if self._ended.is_set() or not self.budget.reserve(request):
            return None
        try:
            with retry.until(self._ended):
                record = self.ask(request)
        except BaseException:
            self._ended.set()
            self.budget.release(request)
            raise
        # a refusal costs nothing, and may be over when the endpoint is set up better
        if record.status == "answered":
            self.journal.add(record)
        self.budget.spend(record)
        with self._lock:
            self.answers.requests += 1
        return record

    def _count_refusal(self, record: Record) -> None:
        with self._lock:
            if record.status != "refused":
                return
            self.answers.refused += 1
            self.answers.refusals.append(record.message)
            useless = not self.answers.valid and not self.answers.invalid
            if useless and self.answers.refused >= REFUSED_IN_A_ROW:
                raise StepFailed(f"the endpoint refuses every request: {record.message}")


def _raise_first(done: set[Future[None]]) -> None:
    for future in done:
        future.result()
