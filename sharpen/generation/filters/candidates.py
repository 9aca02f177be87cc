"""Generated queries on their way through the filters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sharpen.data.preparation.checks.near_duplicates import clusters, near_duplicates
from sharpen.data.text import text_key
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
        near: mark those that are nearly the same, too, as `near_duplicates` says it of all texts: of each cluster of
            them one stays, a query of the user's or the first.
    """
    known = list(known)
    seen = {text_key(text) for text in known}
    for one in good(candidates):
        if one.key in seen:
            one.fault = "equal_query"
        seen.add(one.key)
    if near:
        _mark_near(good(candidates), known)


def _mark_near(candidates: list[Candidate], known: list[str]) -> None:
    texts = [*known, *(one.text for one in candidates)]
    labels = clusters(near_duplicates(texts), len(texts)).tolist()
    seen = set(labels[: len(known)])
    for one, label in zip(candidates, labels[len(known) :], strict=True):
        if label in seen:
            one.fault = "near_duplicate"
        seen.add(label)
