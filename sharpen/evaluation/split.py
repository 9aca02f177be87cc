"""The part of a data set that a split is measured with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import polars as pl

from sharpen.data import trec
from sharpen.data.dataset import DataSet, with_groups
from sharpen.data.generated import is_generated
from sharpen.data.relevance import left_out, searched_part
from sharpen.errors import InputError
from sharpen.metrics import Qrels


@dataclass(frozen=True)
class EvaluationSplit:
    """Queries, corpus and judgements.

    Attributes:
        query_ids, query_texts, query_keys, instructions, sources: the judged queries of the split, by id, with their
            text keys, the instruction that a query brings (empty: none), and the source that it is from.
        groups: the group of each query: queries of one group are not independent of each other.
        passage_ids, passage_texts: the whole corpus, by id *descending*. Exact search breaks ties by the smaller
            index, so in this order it keeps the ties that trec_eval's rule would keep, at the cut too.
        qrels: query id -> passage id -> grade.
        facts: counts.
        left_out: query id -> passages that are not ranked for it (`data.relevance.left_out`).
        passage_titles: of the corpus, with which its texts begin; None: it has none.
    """

    query_ids: list[str]
    query_texts: list[str]
    query_keys: list[int]
    instructions: list[str]
    groups: list[str]
    sources: list[str]
    passage_ids: list[str]
    passage_texts: list[str]
    qrels: Qrels
    facts: dict[str, int]
    left_out: dict[str, frozenset[str]] = field(default_factory=dict)
    passage_titles: list[str] | None = None


def select_split(
    dataset: DataSet, split: str, data: str, relevance_level: int = 1, *, without: Collection[int] = ()
) -> EvaluationSplit:
    """The judged queries of retrieval of a split, and the corpus that they search (`data.relevance.searched_part`).

    Args:
        dataset: the data.
        split: whose queries.
        data: its address, for messages.
        relevance_level: smallest grade that is relevant.
        without: text keys of queries to leave out; the facts count them.

    Raises:
        InputError: the split has no judged query, or none is left.
    """
    dataset = searched_part(dataset)
    qrels, queries = dataset.qrels_of(split), dataset.queries_of(split)
    measured = with_groups(queries).filter(pl.col("query_id").is_in(list(qrels)))
    if measured.is_empty():
        splits = dataset.qrels.group_by("split").agg(pl.col("query_id").n_unique()).sort("split").rows()
        known = ", ".join(f"{name} ({count} queries)" for name, count in splits) or "none"
        raise InputError(f"{data}: split {split!r} has no judged query; splits with judgements: {known}")
    found = measured.height
    seen = pl.DataFrame({"text_key": list(without)}, schema={"text_key": pl.UInt64})
    measured = measured.join(seen, on="text_key", how="anti", maintain_order="left")
    if measured.is_empty():
        raise InputError(
            f"{data}: earlier champions were trained on all {found:,} judged queries of {split}, so nothing can be "
            "measured with them; bring new ones as eval_data"
        )
    corpus = _corpus(dataset)
    query_ids: list[str] = measured["query_id"].to_list()
    for kind, ids in (("query", query_ids), ("passage", corpus["passage_id"].to_list())):
        if len({trec.field(name) for name in ids}) < len(ids):
            raise InputError(f"{data}: two {kind} ids differ only in how white space is written; rename one")
    query_texts_left_out = left_out(replace(dataset, queries=measured, qrels=dataset.qrels.filter(split=split)))
    return EvaluationSplit(
        query_ids=query_ids,
        query_texts=measured["text"].to_list(),
        query_keys=measured["text_key"].to_list(),
        instructions=measured["instruction"].fill_null("").to_list(),
        groups=measured["group"].to_list(),
        sources=measured["source"].fill_null("").to_list(),
        passage_ids=corpus["passage_id"].to_list(),
        passage_texts=corpus["encoded"].to_list(),
        qrels={query_id: qrels[query_id] for query_id in query_ids},
        facts={
            "queries": len(query_ids),
            "groups": measured["group"].n_unique(),
            "passages": corpus.height,
            "judgements": sum(len(qrels[query_id]) for query_id in query_ids),
            "queries_without_relevant": sum(max(qrels[one].values()) < relevance_level for one in query_ids),
            "queries_without_judgement": queries.height - found,
            "queries_left_out": found - measured.height,
            "passages_with_the_query_text_left_out": sum(map(len, query_texts_left_out.values())),
            **_generated(measured),
        },
        left_out=query_texts_left_out,
        passage_titles=corpus["title"].to_list(),
    )


def _corpus(dataset: DataSet) -> pl.DataFrame:
    """The corpus by id descending, with what is encoded for each passage; no title is an empty one."""
    texts = pl.Series(dataset.passage_texts(), dtype=pl.String)
    titled = dataset.corpus.with_columns(pl.col("title").fill_null(""), encoded=texts)
    return titled.sort("passage_id", descending=True)


def _generated(queries: pl.DataFrame) -> dict[str, int]:
    """How many of the queries a language model wrote; nothing where people wrote all."""
    count = int(is_generated(queries).sum())
    return {"generated_queries": count} if count else {}
