"""What is relevant to a query, what is never a negative of it, and what a search can find at all. Every step uses this.

- *Relevant*: judged with a grade of at least `relevance_level`.
- *Judged irrelevant*: a grade of 0 or less; such passages are hard negatives.
- In between, and where the judgement is `MASKED`: neither, so no positive and no negative.

Whatever a negative's origin (mining, the user, the batch, a random draw), it is never a text that is the same
(`data.text.normalize`) as

- that of a passage judged above 0, in any split, for the query or for another query with the same text;
- the query itself: in data such as pairs of duplicate questions every query is a passage too;
- another text with a label of the query's, where texts are labelled (`label_numbers`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

import polars as pl

from sharpen.data.dataset import OF_PAIRS, DataSet
from sharpen.data.task_type import TaskType
from sharpen.errors import InputError

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)

MASKED = "masked"
"""Split of judgements that are known, so that the passage is no negative, and neither trained on nor measured."""

_SHOWN = 3

SEARCHED = (TaskType.RETRIEVAL,)
WITH_INSTRUCTION = tuple(kind for kind in TaskType if kind.has_instruction)


def relevant(qrels: Frame, level: int = 1) -> Frame:
    """The rows of a table with a grade of at least `level`."""
    return qrels.filter(pl.col("grade") >= level)


@dataclass(frozen=True)
class Relevance:
    """The judgements of a data set, and who has which text.

    Attributes:
        passages: passage_id, text_key; in the order of the corpus.
        queries: query_id, query_key; in the order of the queries. Equal keys: the same text.
        qrels: query_id, passage_id, grade; each judged pair once, with the highest of its grades in all splits; masked:
            whether all of them are `MASKED`.
        level: smallest grade that counts as relevant, at least 1.
    """

    passages: pl.DataFrame
    queries: pl.DataFrame
    qrels: pl.DataFrame
    level: int = 1

    @classmethod
    def of(cls, data: DataSet, level: int = 1) -> Relevance:
        """Of all splits of a data set."""
        labelled = data.qrels.group_by("query_id", "passage_id").agg(
            pl.col("grade").max(), masked=(pl.col("split") == MASKED).all()
        )
        return cls(
            data.corpus.select("passage_id", "text_key"),
            data.queries.select("query_id", query_key="text_key"),
            labelled.sort("query_id", "passage_id"),
            level,
        )

    def positives(self) -> pl.DataFrame:
        """query_id, passage_id and grade of the relevant pairs that are not masked."""
        return relevant(self.qrels, self.level).filter(~pl.col("masked")).drop("masked")

    def irrelevant(self) -> pl.DataFrame:
        """query_id and passage_id of the pairs with a grade of 0 or less; `never_negatives` stays above them."""
        return self.qrels.filter(pl.col("grade") <= 0).select("query_id", "passage_id")

    def known_positives(self) -> pl.DataFrame:
        """query_key and passage_id, distinct: passages judged above 0 for any query with this text."""
        above = relevant(self.qrels)
        return above.join(self.queries, on="query_id").select("query_key", "passage_id").unique()

    def never_negatives(self) -> pl.DataFrame:
        """query_key and text_key, distinct: a passage with this text is never a negative of a query with that text."""
        known = self.known_positives().join(self.passages, on="passage_id").select("query_key", "text_key")
        itself = self.queries.select("query_key", text_key="query_key")
        return pl.concat([known, itself]).unique()

    def query_texts(self) -> pl.DataFrame:
        """query_id and passage_id: passages with the query's own text that are not judged above 0 for it.

        No answer that anyone could look for, so that evaluation leaves them out of the query's ranking.
        """
        same = self.queries.join(self.passages, left_on="query_key", right_on="text_key").select(
            "query_id", "passage_id"
        )
        above = relevant(self.qrels)
        return same.join(above, on=["query_id", "passage_id"], how="anti").sort("query_id", "passage_id")


def label_numbers(queries: pl.DataFrame) -> pl.DataFrame:
    """The labels of labelled texts of one source: text_key, label_number (sorted labels from 0), distinct.

    A text that stands in several rows has the labels of all of them. Texts with a label in common are positives of each
    other, and so never negatives; all others are negatives.

    Args:
        queries: text_key and label of rows in all splits.
    """
    labelled = queries.filter(pl.col("label") != "").select("text_key", "label").unique()
    return labelled.select("text_key", label_number=pl.col("label").rank("dense").cast(pl.Int64) - 1).sort(
        "text_key", "label_number"
    )


def check_ids(data: DataSet, negatives: pl.DataFrame | None = None, address: str = "") -> None:
    """Raise InputError when a table names queries or passages that the data set does not have.

    Args:
        data: the data set.
        negatives: query_id, passage_id of negatives that come from elsewhere; None: those of the data set.
        address: of the data set, for messages.
    """
    given = ("given negatives", data.given_negatives) if negatives is None else ("negatives", negatives)
    remedy = "add them or take the rows out" if negatives is None else "use negatives that were mined on this data set"
    faults = []
    others = ((name, getattr(data, name)) for name in OF_PAIRS if name != "given_negatives")
    for name, table in (*others, given):
        for column, known in (("query_id", data.queries), ("passage_id", data.corpus)):
            unknown = table.select(column).unique().join(known, on=column, how="anti").sort(column)[column]
            if len(unknown):
                shown = f"{column} values are not in the data set, such as {', '.join(unknown.head(_SHOWN))}"
                faults.append(f"{f'{address}: ' if address else ''}{name}: {len(unknown):,} {shown}; {remedy}")
    if faults:
        raise InputError(faults)


def left_out(data: DataSet) -> dict[str, frozenset[str]]:
    """query_id -> the passages that its ranking goes without: `Relevance.query_texts`; only queries that have some."""
    pairs = Relevance.of(data).query_texts().group_by("query_id").agg("passage_id")
    return {query_id: frozenset(passage_ids) for query_id, passage_ids in pairs.iter_rows()}


def part_of(data: DataSet, kinds: Collection[TaskType], source: str | None = None) -> DataSet:
    """The data set with the queries of some task types, and the passages that may be theirs.

    The corpus is without the passages that only pairs of other queries name: the second sentence of a pair (sts), or
    what stands in the list of one query alone (reranking), is nothing that a search should find. Passages that no pair
    names stay. A data set that holds nothing else is returned as it is.

    Args:
        data: the data set.
        kinds: the task types.
        source: of the queries; None: all.
    """
    wanted = pl.col("task_type").is_in([kind.value for kind in kinds])
    if source is not None:
        wanted &= pl.col("source").fill_null("") == source
    queries = data.queries.filter(wanted)
    if queries.height == data.queries.height:
        return data
    pairs = {name: getattr(data, name).join(queries, on="query_id", how="semi") for name in OF_PAIRS}
    named = _passages(pairs.values())
    foreign = _passages(getattr(data, name) for name in OF_PAIRS).join(named, on="passage_id", how="anti")
    corpus = data.corpus.join(foreign, on="passage_id", how="anti", maintain_order="left")
    return replace(data, corpus=corpus, queries=queries, **pairs)


def searched_part(data: DataSet) -> DataSet:
    """What is searched: `part_of` with the queries of retrieval."""
    return part_of(data, SEARCHED)


def named_passages(data: DataSet) -> DataSet:
    """The data set with those passages only that a pair names."""
    named = _passages(getattr(data, name) for name in OF_PAIRS)
    return replace(data, corpus=data.corpus.join(named, on="passage_id", how="semi", maintain_order="left"))


def _passages(tables: Iterable[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([table.select("passage_id") for table in tables]).unique()
