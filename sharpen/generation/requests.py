"""Which passages are written for, together with which others, and with which examples: one request each."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

import polars as pl

from sharpen.data.dataset import DataSet
from sharpen.data.readers import read_dataset
from sharpen.data.relevance import relevant
from sharpen.data.text import passage_texts
from sharpen.errors import InputError
from sharpen.generation.prompting.prompt import Example, PromptRequest, Source, make_request
from sharpen.generation.settings import MULTI_PASSAGE, GenerationSettings
from sharpen.typed_json import sha256_json

if TYPE_CHECKING:
    from sharpen.generation.filters.round_trip import RoundTrip

# passages that a passage is paired with one of
_NEIGHBOURS = 8


def read_examples(address: str) -> list[Example]:
    """The user's queries with a passage each, as far as they are training queries; none for no address.

    Raises:
        InputError: unusable data, or no training query with a passage.
    """
    if not address:
        return []
    data: DataSet = read_dataset(address)
    texts = data.corpus.select("passage_id", passage=passage_texts(data.corpus))
    pairs = (
        relevant(data.qrels)
        .join(texts, on="passage_id")
        .join(data.queries_of("train").select("query_id", "text"), on="query_id")
        .sort("query_id", "passage_id")
        .unique("query_id", keep="first", maintain_order=True)
    )
    if pairs.is_empty():
        raise InputError(f"examples: {address} holds no training query with a passage; test queries are not shown")
    return [Example(query, passage) for query, passage in pairs.select("text", "passage").iter_rows()]


def sampled(passages: pl.DataFrame, settings: GenerationSettings) -> list[int]:
    """Rows of the passages that get queries, in an order by hashes, so that any beginning of it is a fair sample."""
    long_enough = [
        (sha256_json([settings.seed, key]), row)
        for row, (text, key) in enumerate(passages.select("text", "text_key").iter_rows())
        if len(text) >= settings.min_passage_characters
    ]
    return [row for _, row in sorted(long_enough)[: settings.max_passages]]


class Requests:
    """All requests, by number.

    Args:
        passages: the table.
        rows: of the passages that get queries.
        examples: the user's queries.
        settings: styles, counts, seed.
        view: the base model's view of the passages, by which they are paired; None: those of a document are.
    """

    def __init__(
        self,
        passages: pl.DataFrame,
        rows: Sequence[int],
        examples: Sequence[Example],
        settings: GenerationSettings,
        view: RoundTrip | None,
    ) -> None:
        self.passages, self.examples, self.settings = passages, examples, settings
        self.single = tuple(style for style in settings.styles if style != MULTI_PASSAGE)
        pairs = _pairs(passages, rows, view) if MULTI_PASSAGE in settings.styles else []
        # a pair after every second passage, so that a budget that ends early leaves some of each
        groups: list[tuple[int, ...]] = []
        for number, row in enumerate(rows):
            groups += [(row,)] if self.single else []
            groups += pairs[number // 2 : number // 2 + 1] if number % 2 == 0 else []
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups)

    def make(self, number: int, attempt: int = 0) -> PromptRequest:
        """A request; each `attempt` is another one."""
        group, settings = self.groups[number], self.settings
        columns = ("passage_id", "title", "text")
        sources = [Source(row, *(self.passages[column][row] or "" for column in columns)) for row in group]
        rng = Random(f"{settings.seed} {sources[0].passage_id}")
        shown = rng.sample(range(len(self.examples)), min(settings.examples_shown, len(self.examples)))
        styles = self.single if len(group) == 1 else (MULTI_PASSAGE,)
        return make_request(sources, styles, [self.examples[one] for one in shown], settings, attempt)


def _pairs(passages: pl.DataFrame, rows: Sequence[int], view: RoundTrip | None) -> list[tuple[int, ...]]:
    """Passages that belong together, each in one pair at most."""
    count = min(_NEIGHBOURS, passages.height - 1)
    if count < 1:
        return []
    near = _of_document(passages, rows) if view is None else view.neighbours(rows, count).tolist()
    used: set[int] = set()
    pairs: list[tuple[int, ...]] = []
    for row, others in zip(rows, near, strict=True):
        partner = next((other for other in others if other >= 0 and other not in used), None)
        if row not in used and partner is not None:
            used |= {row, partner}
            pairs.append((row, partner))
    return pairs


def _of_document(passages: pl.DataFrame, rows: Sequence[int]) -> list[list[int]]:
    """For each row the other passages of its document, the next ones first."""
    found = passages.with_row_index("row").drop_nulls("document")
    documents = found.group_by("document").agg("row")
    members = dict(documents.iter_rows())
    names = passages["document"].to_list()
    return [
        sorted((other for other in members.get(names[row], []) if other != row), key=lambda other: (other < row, other))
        for row in rows
    ]
