"""The data set on its way through the step, and what was left out of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import polars as pl

from sharpen.data.dataset import DataSet
from sharpen.data.relevance import relevant


@dataclass
class WorkingSet:
    """A data set that is being prepared.

    Attributes:
        data: the data set as it is now.
        counts: what was merged or left out -> how often.
        brought_splits: the splits that the input brings; all others are cut.
    """

    data: DataSet
    counts: dict[str, int] = field(default_factory=dict)
    brought_splits: set[str] = field(default_factory=set)

    @property
    def positives(self) -> pl.DataFrame:
        """query_id and passage_id of the positive pairs."""
        return relevant(self.data.qrels).select("query_id", "passage_id")

    def filter(self, queries: pl.DataFrame, reason: str) -> None:
        """Keep these queries only, and count the others under `reason`."""
        before = self.data.queries.height
        self.data = of_queries(self.data, queries)
        self.counts[reason] = before - self.data.queries.height

    def reassign(self, split_of: pl.DataFrame) -> None:
        """Give queries another split; `split_of` has query_id and split."""
        moved = split_of.rename({"split": "moved"})
        queries, qrels = (
            table.join(moved, on="query_id", how="left", maintain_order="left")
            .with_columns(split=pl.coalesce("moved", "split"))
            .drop("moved")
            for table in (self.data.queries, self.data.qrels)
        )
        self.data = replace(self.data, queries=queries, qrels=qrels)


def of_queries(data: DataSet, queries: pl.DataFrame) -> DataSet:
    """The data set with these queries only; the corpus stays whole."""
    tables = {
        name: getattr(data, name).join(queries, on="query_id", how="semi", maintain_order="left")
        for name in ("queries", "qrels", "given_negatives", "teacher_scores")
    }
    return replace(data, **tables)
