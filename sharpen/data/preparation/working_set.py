"""The data set on its way through the step, and what was left out of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from sharpen.data.dataset import OF_PAIRS, DataSet
from sharpen.data.relevance import MASKED, relevant
from sharpen.hardware.sorted_keys import repeated
from sharpen.hardware.spill import collected, with_column


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
    def positives(self) -> pl.LazyFrame:
        """query_id and passage_id of the positive pairs, and of those with a label of their similarity; some twice."""
        pairs = [relevant(self.data.qrels.lazy()).filter(pl.col("split") != MASKED), self.data.similarity_labels.lazy()]
        return pl.concat([table.select("query_id", "passage_id") for table in pairs])

    def useless(self) -> pl.DataFrame:
        """query_id of the queries that nothing can be learned from: without a positive pair, and without a label.

        Ids are told apart by 64-bit hashes.
        """
        known = self.positives.select(pl.col("query_id").hash()).collect(engine="streaming")["query_id"]
        unlabelled = self.data.queries.lazy().filter(pl.col("label") == "").select("query_id")
        missing = ~unlabelled.select(pl.col("query_id").hash()).collect(engine="streaming")["query_id"].is_in(
            known.implode()
        )
        return unlabelled.collect(engine="streaming").filter(missing) if missing.any() else pl.DataFrame(schema=_ID)

    def shared_positives(self) -> pl.DataFrame:
        """row of the query and node, a 64-bit hash of the passage, of the passages that answer several queries."""
        pairs = self.positives.select("query_id", node=pl.col("passage_id").hash())
        often = repeated(pairs.select("node").collect(engine="streaming")["node"])
        if often.is_empty():
            return pl.DataFrame(schema={"row": pl.UInt32, "node": pl.UInt64})
        shared = pairs.join(often.to_frame().lazy(), on="node", how="semi").unique()
        rows = self.data.queries.lazy().select("query_id").with_row_index("row")
        return rows.join(shared, on="query_id").select("row", "node").collect(engine="streaming")

    def leave_out(self, queries: pl.DataFrame, reason: str) -> None:
        """Leave out these `queries` (query_id), with what is said of them, and count them under `reason`."""
        before = self.data.queries.height
        self.data = without_queries(self.data, queries)
        self.counts[reason] = before - self.data.queries.height

    def mask(self, pairs: pl.DataFrame) -> None:
        """Train on these pairs (query_id, passage_id) no more; their passages are no negatives either."""
        if pairs.is_empty():
            return
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
        moved = split_of.lazy().rename({"split": "moved"})

        def with_splits(table: pl.DataFrame) -> pl.DataFrame:
            # the other columns are not copied
            joined = table.lazy().select("query_id", "split").join(moved, "query_id", how="left", maintain_order="left")
            split = collected(joined.select(split=pl.coalesce("moved", "split")), table.height)
            return with_column(table, split["split"])

        self.data = replace(
            self.data,
            **{name: with_splits(getattr(self.data, name)) for name in ("queries", "qrels", "similarity_labels")},
        )


_ID = {"query_id": pl.String}


def without_queries(data: DataSet, queries: pl.DataFrame) -> DataSet:
    """The data set without these `queries` (query_id); the corpus stays whole."""
    if queries.is_empty():
        return data
    ids = queries.lazy().select("query_id")
    tables = {}
    for name in ("queries", *OF_PAIRS):
        table: pl.DataFrame = getattr(data, name)
        rest = table.lazy().join(ids, on="query_id", how="anti", maintain_order="left")
        tables[name] = collected(rest, table.height)
    return replace(data, **tables)
