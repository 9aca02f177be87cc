"""Generated queries on their way through the filters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sharpen.data.text import normalize, text_key
from sharpen.generation.prompting.answers import Answer
from sharpen.generation.prompting.checks import fault_of
from sharpen.generation.prompting.prompt import PromptRequest


@dataclass
class Candidate:
    """A query that a language model wrote.

    Attributes:
        text: one line.
        style: of the styles that were wanted, as far as it is known.
        rows: passages that it is for, rows of the table.
        model: that wrote it, as the endpoint names it.
        fault: key of `checks.REASONS`; empty while it is good.
    """

    text: str
    style: str
    rows: tuple[int, ...]
    model: str
    fault: str = ""
    key: int = field(init=False)

    def __post_init__(self) -> None:
        self.key = text_key(self.text)


def candidates_of(request: PromptRequest, answer: Answer, model: str, most: int) -> list[Candidate]:
    """The queries of an answer, each checked by itself.

    Args:
        request: what was asked.
        answer: validated.
        model: that gave it.
        most: longest query in characters.
    """
    found: list[Candidate] = []
    counts: dict[str, int] = {}
    for written in answer.queries:
        text = written.text.strip()
        fault = fault_of(text, written.style, request, most)
        counts[written.style] = counts.get(written.style, 0) + (not fault)
        if not fault and counts[written.style] > request.count:
            fault = "too_many"
        rows = tuple(one.row for one in request.sources)
        found.append(Candidate(text, written.style, rows, model, fault))
    return found


def good(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those without a fault."""
    return [one for one in candidates if not one.fault]


def mark_repeats(candidates: Iterable[Candidate], known: Iterable[str], *, near: bool) -> None:
    """Mark those that are the same as a query before them, or as one of the user's.

    Args:
        candidates: of which those without a fault are looked at.
        known: the user's queries.
        near: mark those with the same words, too, whatever their order.
    """
    seen = {text_key(text) for text in known}
    for one in good(candidates):
        if one.key in seen:
            one.fault = "equal_query"
        seen.add(one.key)
    words_seen = {_words(text) for text in known}
    for one in good(candidates) if near else ():
        words = _words(one.text)
        if words in words_seen:
            one.fault = "near_duplicate"
        words_seen.add(words)


def _words(text: str) -> frozenset[str]:
    plain = "".join(letter if letter.isalnum() else " " for letter in normalize(text))
    return frozenset(plain.split())
