"""The passages of an index, and the queries by which it is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from sharpen.data.dataset import DataSet
from sharpen.data.readers import read_corpus
from sharpen.data.relevance import searched_part
from sharpen.data.text import passage_texts
from sharpen.embeddings import PassageVectors
from sharpen.errors import InputError

# Queries that no model was trained on say most about the answers to come.
_SPLITS = ("test", "dev", "train")


@dataclass(frozen=True)
class Corpus:
    """Passages sorted by id, and a sample of queries.

    Attributes:
        passages: `records.CORPUS`; in their order they stand in the index.
        queries, instructions: sampled queries; an empty instruction means none.
        split: where they are from; empty when the data has no queries.
        fingerprint: of the passages.
    """

    passages: pl.DataFrame
    queries: list[str]
    instructions: list[str]
    split: str
    fingerprint: str

    @property
    def ids(self) -> list[str]:
        """Id of each passage."""
        return self.passages["passage_id"].to_list()

    @property
    def texts(self) -> list[str]:
        """What is encoded for each passage: title and text."""
        return passage_texts(self.passages).to_list()

    def table(self, embedded: PassageVectors) -> pl.DataFrame:
        """A row for each vector: the passage's id, title and text; of windows their number, from 1, and their text."""
        rows, spans = embedded.rows, embedded.spans
        if rows is None or spans is None:
            return self.passages
        numbers = np.arange(len(rows.passages)) - rows.first[rows.passages] + 1
        titles, texts, whole = self.titles, self.passages["text"].to_list(), self.texts
        windows = [
            _part(titles[row], whole[row], start, end) if rows.counts[row] > 1 else texts[row]
            for row, (start, end) in zip(rows.passages.tolist(), spans.tolist(), strict=True)
        ]
        return self.passages[rows.passages].with_columns(
            text=pl.Series(windows), window=pl.Series(numbers, dtype=pl.UInt32)
        )

    @property
    def titles(self) -> list[str]:
        """The title of each passage, empty where it has none."""
        return self.passages["title"].fill_null("").to_list()


def _part(title: str, whole: str, start: int, end: int) -> str:
    """The characters start, ..., end - 1 of a whole passage, without those of its title."""
    before = len(title.lstrip()) + 1 if title.strip() else 0
    return whole[max(before, start) : end].strip()


def read(address: str, queries: int, seed: int) -> Corpus:
    """Read passages and draw queries.

    Args:
        address: any input of Sharpen, or a corpus.jsonl alone.
        queries: how many queries to draw at most.
        seed: of the draw.

    Raises:
        InputError: nothing usable at the address, or no passage in it.
    """
    data = searched_part(read_corpus(address))
    if data.corpus.is_empty():
        raise InputError(f"{address}: the corpus holds no passage; there is nothing to index")
    split = next((name for name in _SPLITS if not data.queries_of(name).is_empty()), "")
    rows = data.queries_of(split)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(rows))[:queries])
    sample = rows[drawn.tolist()]
    passages = data.corpus.sort("passage_id")
    return Corpus(
        passages=passages,
        queries=sample["text"].to_list(),
        instructions=[value or "" for value in sample["instruction"].to_list()],
        split=split if queries else "",
        fingerprint=DataSet(passages, data.queries.clear(), data.qrels.clear()).fingerprint(),
    )
