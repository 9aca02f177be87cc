"""`ask_all`: what a step calls to have its requests answered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from sharpen.language_model.ask import Answer, Answers, Ask, Asking
from sharpen.language_model.budget import Budget
from sharpen.language_model.endpoint import Endpoint
from sharpen.language_model.journal import Record, open_journal
from sharpen.language_model.local_server import local_endpoint
from sharpen.language_model.request import ChatRequest
from sharpen.language_model.settings import LOCAL, LanguageModelSettings


def ask_all(
    settings: LanguageModelSettings,
    numbers: Sequence[int],
    make: Callable[[int, int], ChatRequest],
    parse: Callable[[Record], Answer | None],
    *,
    what: str,
    characters: int,
    logprobs: bool = False,
) -> tuple[Answers[Answer], Budget]:
    """Have requests answered by the journal or the endpoint, until all are or the budget is spent.

    Args:
        settings: whom to ask, and what may be spent.
        numbers: of the requests, in their order.
        make: request's number and attempt, from 0 -> the request.
        parse: an answer -> what it says; None: it is not what was asked for.
        what: is done, for the progress.
        characters: of the longest data in a request.
        logprobs: ask for the probabilities of tokens, where the endpoint gives them.

    Returns:
        The answers, and what they cost.

    Raises:
        InputError, StepFailed: the endpoint cannot be used, or not for now; all that was answered is in the journal.
    """
    budget = Budget(settings)
    # llama.cpp's server works on one request at a time; the others would only wait
    concurrency = 1 if settings.endpoint == LOCAL else settings.concurrency
    with open_journal(settings).opened() as journal, _endpoint(settings, characters, logprobs) as ask:
        asking = Asking(ask, journal, budget, make, parse, settings.attempts)
        return asking.run(numbers, concurrency, what), budget


@contextmanager
def _endpoint(settings: LanguageModelSettings, characters: int, logprobs: bool) -> Iterator[Ask]:
    """What asks the endpoint of the settings; the local one is started for the first request, if there is any."""
    lock, made = threading.Lock(), []

    with ExitStack() as stack:

        def ask(request: ChatRequest) -> Record:
            with lock:
                if not made:
                    if settings.endpoint == LOCAL:
                        server = stack.enter_context(local_endpoint(settings, characters))
                        endpoint = Endpoint(server.address, settings, check=server.check, logprobs=logprobs)
                    else:
                        endpoint = Endpoint(settings.endpoint, settings, logprobs=logprobs)
                    made.append(endpoint)
            return made[0].ask(request)

        yield ask
