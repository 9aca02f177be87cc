"""The data set on its way through the step, and what was left out of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from sharpen.data.dataset import OF_PAIRS, DataSet
from sharpen.data.relevance import MASKED, relevant


@dataclass
class WorkingSet:
    """A data set that is being prepared.

    Attributes:
        data: the data set as it is now.
        counts: what was merged or left out -> how often.
        brought_splits: the splits that the input brings; all others are cut.
        read_examples: (n,) hashes of all examples that were read, sorted, where a part of them is left out; else None.
        splitting: how the splits came about and what of the training queries was selected, for `stats.json`.
    """

    data: DataSet
    counts: dict[str, int] = field(default_factory=dict)
    brought_splits: set[str] = field(default_factory=set)
    read_examples: np.ndarray | None = None
    splitting: dict[str, Any] = field(default_factory=dict)

    @property
    def positives(self) -> pl.DataFrame:
        """query_id and passage_id of the positive pairs, and of those with a label of their similarity."""
        pairs = [relevant(self.data.qrels).filter(pl.col("split") != MASKED), self.data.similarity_labels]
        return pl.concat([table.select("query_id", "passage_id") for table in pairs]).unique()

    @property
    def usable(self) -> pl.DataFrame:
        """query_id of the queries that something can be learned from: those with a positive pair or a label."""
        labelled = self.data.queries.filter(pl.col("label") != "")
        return pl.concat([table.select("query_id") for table in (self.positives, labelled)]).unique()

    def filter(self, queries: pl.DataFrame, reason: str) -> None:
        """Keep these queries only, and count the others under `reason`."""
        before = self.data.queries.height
        self.data = of_queries(self.data, queries)
        self.counts[reason] = before - self.data.queries.height

    def mask(self, pairs: pl.DataFrame) -> None:
        """Train on these pairs (query_id, passage_id) no more; their passages are no negatives either."""
        labelled = self.data.qrels.join(
            pairs.select("query_id", "passage_id", masked=pl.lit(True)),
            on=["query_id", "passage_id"],
            how="left",
            maintain_order="left",
        )
        split = pl.when("masked").then(pl.lit(MASKED)).otherwise("split").alias("split")
        labels = self.data.similarity_labels.join(
            pairs, on=["query_id", "passage_id"], how="anti", maintain_order="left"
        )
        masked = labelled.with_columns(split).drop("masked")
        self.data = replace(self.data, qrels=masked, similarity_labels=labels)

    def reassign(self, split_of: pl.DataFrame) -> None:
        """Give queries another split; `split_of` has query_id and split."""
        moved = split_of.rename({"split": "moved"})

        def with_splits(table: pl.DataFrame) -> pl.DataFrame:
            # the other columns are not copied
            joined = table.select("query_id", "split").join(moved, on="query_id", how="left", maintain_order="left")
            return table.with_columns(joined.select(split=pl.coalesce("moved", "split")))

        self.data = replace(
            self.data,
            **{name: with_splits(getattr(self.data, name)) for name in ("queries", "qrels", "similarity_labels")},
        )


def of_queries(data: DataSet, queries: pl.DataFrame) -> DataSet:
    """The data set with these of its queries only; the corpus stays whole."""
    if queries.height == data.queries.height:
        return data
    tables = {
        name: getattr(data, name).join(queries, on="query_id", how="semi", maintain_order="left")
        for name in ("queries", *OF_PAIRS)
    }
    return replace(data, **tables)
