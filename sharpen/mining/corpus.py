"""What is mined: the training queries, the passages in the order of their ids, and who may never be whose negative.

Who may not be whose negative is said in `data.relevance`; here its answer becomes rows and numbers. A *text* is a
distinct normalised passage text with a number of its own, so a copy of a positive under another id is known too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from sharpen.data.dataset import DataSet
from sharpen.data.relevance import Relevance, check_ids, searched_part
from sharpen.errors import InputError
from sharpen.mining.pairs import PairSet

SPLIT = "train"


@dataclass(frozen=True)
class MiningCorpus:
    """Queries and passages by row.

    Attributes:
        query_ids, queries, instructions: the queries to mine for, sorted by id; an empty instruction means none.
        passage_ids, passages, titles: the corpus, sorted by id; title and text joined; the title alone.
        text_of: (passages) the number of each passage's text.
        text_count: how many distinct texts there are.
        query_text_number: (queries) the number of the query's own text where it is a passage, else -1.
        positives: (query, passage) pairs judged relevant to the query; every query has one.
        known_passages: (query, passage) pairs that are known positives.
        known_texts: (query, text) pairs that are known positives.
        given: (query, passage) pairs that the user brought as negatives or judged irrelevant, and that may be some.
        given_texts: (query, text) pairs of the same.
        counts: what was left out on the way here.
    """

    query_ids: list[str]
    queries: list[str]
    instructions: list[str]
    passage_ids: list[str]
    passages: list[str]
    text_of: np.ndarray
    text_count: int
    query_text_number: np.ndarray
    positives: PairSet
    known_passages: PairSet
    known_texts: PairSet
    given: PairSet
    given_texts: PairSet
    counts: dict[str, int]
    titles: list[str] | None = None


def build_corpus(data: DataSet, address: str, relevance_level: int = 1) -> MiningCorpus:
    """Number queries of retrieval, passages and texts of the training split.

    Args:
        data: the data set.
        address: where it came from, for messages.
        relevance_level: smallest grade of a positive.

    Raises:
        InputError: no passage, no training query with a positive, ids that the data lacks, or nothing but positives.
    """
    data = searched_part(data)
    if data.corpus.is_empty():
        raise InputError(f"{address}: the corpus holds no passage; there is nothing to mine")
    queries = data.queries_of(SPLIT)
    if queries.is_empty():
        raise InputError(f"{address}: no query is in the split {SPLIT}; there is nothing to mine for")
    check_ids(data, address=address)
    data = replace(data, corpus=data.corpus.sort("passage_id").with_columns(pl.col("title").fill_null("")))
    relevance = Relevance.of(data, relevance_level)
    numbered = relevance.passages.with_row_index("passage")
    # numbered in the order in which the texts first occur
    texts = numbered.group_by("text_key").agg(pl.col("passage").min()).sort("passage").with_row_index("number")
    text_of = numbered.join(texts, on="text_key", maintain_order="left")["number"].to_numpy().astype(np.int64)
    labelled = _labelled(queries, (relevant := relevance.positives()), relevance_level, address)
    keyed = labelled.join(relevance.queries, on="query_id", maintain_order="left").with_row_index("query")

    def pairs(table: pl.DataFrame, by: str) -> PairSet:
        """(query, passage) of rows that name the query by id or key, and the passage by its id."""
        joined = table.join(keyed.select(by, "query"), on=by)
        joined = joined.join(numbered.select("passage_id", "passage"), on="passage_id")
        return PairSet.of(joined["query"].to_numpy(), joined["passage"].to_numpy(), numbered.height)

    known = pairs(relevance.known_positives(), "query_key")
    with_texts = keyed.join(texts, left_on="query_key", right_on="text_key", how="left", maintain_order="left")
    never = _never_negatives(relevance, keyed, texts, address)
    irrelevant = pairs(relevance.irrelevant(), "query_id")
    brought = pairs(data.given_negatives, "query_id").union(irrelevant)
    given = _first_of_each_text(brought, text_of, texts.height, never)
    return MiningCorpus(
        query_ids=labelled["query_id"].to_list(),
        queries=labelled["text"].to_list(),
        instructions=labelled["instruction"].fill_null("").to_list(),
        passage_ids=data.corpus["passage_id"].to_list(),
        passages=data.passage_texts(),
        titles=data.corpus["title"].to_list(),
        text_of=text_of,
        text_count=texts.height,
        query_text_number=with_texts["number"].cast(pl.Int64).fill_null(-1).to_numpy(),
        positives=pairs(relevant, "query_id"),
        known_passages=known,
        known_texts=PairSet.of(known.queries, text_of[known.numbers], texts.height),
        given=given,
        given_texts=PairSet.of(given.queries, text_of[given.numbers], texts.height),
        counts={
            "queries_without_positive": queries.height - labelled.height,
            "judged_irrelevant": len(irrelevant),
            "given_known_positive_or_repeated": len(brought) - len(given),
        },
    )


def _labelled(queries: pl.DataFrame, relevant: pl.DataFrame, relevance_level: int, address: str) -> pl.DataFrame:
    """The queries with a positive, by id. Raises InputError where there is none."""
    labelled = queries.join(relevant, on="query_id", how="semi").sort("query_id")
    if labelled.is_empty():
        needed = "grade > 0" if relevance_level == 1 else f"grade >= {relevance_level}, the relevance_level"
        raise InputError(f"{address}: no query of the split {SPLIT} has a relevant passage (qrels with {needed})")
    return labelled


def _never_negatives(relevance: Relevance, queries: pl.DataFrame, texts: pl.DataFrame, address: str) -> PairSet:
    """The (query, text) pairs that are no negatives. Raises InputError where that is every pair."""
    never = relevance.never_negatives().join(texts, on="text_key")
    never = never.join(queries.select("query_key", "query"), on="query_key")
    pairs = PairSet.of(never["query"].to_numpy(), never["number"].to_numpy(), texts.height)
    if pairs.counts(queries.height).min() >= texts.height:
        raise InputError(
            f"{address}: each of the {texts.height} passages is a positive of every query, so nothing can be a "
            "negative; add passages to the corpus"
        )
    return pairs


def _first_of_each_text(pairs: PairSet, text_of: np.ndarray, texts: int, never: PairSet) -> PairSet:
    """The pairs whose text may be a negative, one for each text."""
    queries, passages = pairs.queries, pairs.numbers
    fit = ~never.has(queries, text_of[passages])
    queries, passages = queries[fit], passages[fit]
    _, first = np.unique(queries * texts + text_of[passages], return_index=True)
    return PairSet.of(queries[first], passages[first], pairs.width)
