"""Labels that cannot all be right, and how many a query has."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from sharpen.data.dataset import DataSet
from sharpen.data.preparation.checks.sampling import EXAMPLES, shortened
from sharpen.data.readers import ReadReport
from sharpen.data.readers.tables import contradictions, label_values, one_value
from sharpen.data.relevance import relevant
from sharpen.hardware.sorted_keys import common, frequencies

_BINS = ((1, 1, "1"), (2, 2, "2"), (3, 5, "3 to 5"), (6, 10, "6 to 10"), (11, None, "11 or more"))


def positives_per_query(data: DataSet) -> dict[str, int]:
    """Queries by their number of positive passages; those without one (labelled texts) are left out."""
    queries = relevant(data.qrels.lazy()).select(pl.col("query_id").hash()).collect(engine="streaming")
    counts = frequencies(queries["query_id"])
    return {name: int(((counts >= low) & (counts <= (high or np.inf))).sum()) for low, high, name in _BINS}


def positives_equal_to_queries(data: DataSet) -> dict[str, Any]:
    """Positive pairs whose passage says the same as the query: of test data only, training rows are in quarantine."""
    both = pl.col("text_key").is_in(common(data.queries["text_key"], data.corpus["text_key"]).implode())
    keys = data.queries.lazy().filter(both).select("query_id", "text", key="text_key")
    same = data.corpus.lazy().filter(both).select("passage_id", key="text_key").join(keys, on="key")
    positives = relevant(data.qrels.lazy()).select("query_id", "passage_id")
    found = positives.join(same, on=["query_id", "passage_id"]).collect(engine="streaming")
    found = found.sort("query_id", "passage_id")
    return {"pairs": found.height, "examples": [shortened(text) for text in found["text"].head(EXAMPLES)]}


def conflicting_labels(data: DataSet, report: ReadReport) -> dict[str, dict[str, Any]]:
    """Texts and pairs with labels that contradict one another, by kind.

    Of `classification`: one text of a source with several labels. Of `similarity`: one pair of texts of a source with
    labels that are not equal. Of `relevance`: one passage, for one query text, judged relevant and irrelevant.

    Args:
        data: as it was read: what becomes one pair later has one label then.
        report: what reading brought up; each file or folder has each pair once.
    """
    keys = data.queries.select("query_id", "source", query_key="text_key").lazy()
    passages = data.corpus.select("passage_id", passage_key="text_key").lazy()
    found = {"classification": _of_labelled_texts(data)}
    for kind, pairs in label_values(data.qrels, data.similarity_labels).items():
        keyed = pairs.lazy()
        # nothing is joined where nothing can contradict
        if not one_value(keyed):
            keyed = keyed.join(keys, on="query_id").join(passages, on="passage_id")
        # each source has its own scale of similarity
        same = ["query_key", "passage_key", *(["source"] if kind == "similarity" else [])]
        found[kind] = pl.concat([*report.conflicts.get(kind, ()), contradictions(keyed, same, data)])
    return {
        kind: {"found": table.height, "examples": table.head(EXAMPLES).with_columns(_shown(table.columns)).to_dicts()}
        for kind, table in found.items()
    }


def _of_labelled_texts(data: DataSet) -> pl.DataFrame:
    """text, values of the texts that have several labels in one source."""
    labelled = data.queries.filter(pl.col("label") != "")
    several = labelled.group_by("source", "text_key").agg(pl.col("text").min(), values=pl.col("label").unique().sort())
    several = several.filter(pl.col("values").list.len() > 1).sort("text_key")
    return several.select("text", pl.col("values").list.head(EXAMPLES).list.join(", "))


def _shown(columns: list[str]) -> pl.Expr:
    return pl.col(columns).map_elements(shortened, return_dtype=pl.String)
