"""Which of the training queries a run trains on: those of a window, or that no champion has seen, and some others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from sharpen.data import query_keys
from sharpen.data.examples import example_hashes, examples_of
from sharpen.data.preparation.data_plan import DataPlan, NothingNew
from sharpen.data.preparation.splits.assignment import TRAIN, lots
from sharpen.data.preparation.working_set import WorkingSet
from sharpen.data.window import Window


@dataclass(frozen=True)
class Selection:
    """What is trained on, of what was read.

    Attributes:
        plan: what was decided.
        older: query_id of the training queries that are older than the window of their source.
    """

    plan: DataPlan
    older: pl.DataFrame

    @classmethod
    def of(cls, work: WorkingSet, plan: DataPlan, windows: Mapping[str, Window]) -> Selection:
        """Before splits are cut. Older queries that are not wanted for replay are left out at once.

        Args:
            work: the data; changed in place.
            plan: what was decided.
            windows: source -> window of its rows.

        Raises:
            NothingNew: no training query is in its window.
        """
        if windows or plan.only_new:
            work.read_examples = example_hashes(work.data, work.brought_splits)
        older = pl.DataFrame(schema={"query_id": pl.String})
        if windows:
            columns = [name for name in ("query_id", "source", "time") if name in work.data.queries.columns]
            train = work.data.queries.lazy().filter(pl.col("split") == TRAIN).select(columns).collect()
            older = _older(train, windows)
            if not train.is_empty() and older.height == train.height:
                starts = ", ".join(sorted({f"{window.start:%Y-%m-%d}" for window in windows.values()}))
                raise NothingNew(
                    f"no training query is as new as {starts}; bring newer data, or change retraining.since"
                )
            work.splitting["windows"] = _window_facts(train, older, windows)
        if not plan.replay_share:
            work.leave_out(older, "queries_before_since")
            older = older.clear()
        return cls(plan, older)

    def without_older(
        self, work: WorkingSet, train: pl.DataFrame, earlier: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The training queries of which splits are cut, and those that earlier runs know, without the older ones.

        Older queries that were held out before are left out of the data: they are not trained on either.

        Args:
            work: the data; changed in place.
            train, earlier: with row, the number of the query in the data.
        """
        if self.older.is_empty():
            return train, earlier
        ids = work.data.queries.select("query_id").with_row_index("row")
        older = ids.join(self.older, on="query_id", how="semi", maintain_order="left")
        dropped = older.join(earlier.filter(pl.col("earlier") != TRAIN), on="row", how="semi", maintain_order="left")
        work.leave_out(dropped, "held_out_queries_before_since")
        dropped_rows = dropped["row"].to_numpy()

        def rest(table: pl.DataFrame) -> pl.DataFrame:
            left = table.join(older, on="row", how="anti", maintain_order="left")
            fewer = np.searchsorted(dropped_rows, left["row"].to_numpy()).astype(np.uint32)
            return left.with_columns(pl.col("row") - pl.lit(pl.Series(fewer)))

        return rest(train), rest(earlier)

    def apply(self, work: WorkingSet, seed: int) -> None:
        """Leave out what is not trained on, but for what is drawn of it again.

        The draw depends on the seed, the window and what champions have seen, not on the order of rows.

        Args:
            work: the data, split; changed in place.
            seed: of the draw.

        Raises:
            NothingNew: champions were trained on everything.
        """
        if self.older.is_empty() and not self.plan.only_new:
            return
        pairs = examples_of(work.data, work.brought_splits).filter(pl.col("split") == TRAIN)
        if pairs.is_empty():
            return
        known = pl.DataFrame({"example": np.asarray(query_keys.read(self.plan.trained_examples), np.uint64)})
        outside = pairs.join(self.older, on="query_id", how="semi")
        seen = pairs.join(known, on="example", how="semi") if self.plan.only_new else pairs.clear()
        left_out = pl.concat([outside, seen]).select("example").unique()
        fresh = pairs.join(left_out, on="example", how="anti")
        if fresh.is_empty():
            raise NothingNew(
                "champions of this model were trained on every example; bring new ones, or set retraining.only_new to "
                "false"
            )
        wanted = round(self.plan.replay_share / (1 - self.plan.replay_share) * fresh["example"].n_unique())
        chosen = self._draw(left_out["example"], wanted, seed)
        used = pl.concat([fresh, pairs.join(chosen, on="example", how="semi")])
        work.splitting["selected"] = {
            "new": fresh["example"].n_unique(),
            "replayed": chosen.height,
            "left_out": left_out.height - chosen.height,
        }
        columns = ["query_id", "passage_id"]
        work.mask(pairs.drop_nulls("passage_id").join(used, on=columns, how="anti"))
        others = work.data.queries.filter(pl.col("split") != TRAIN).select("query_id")
        remaining = pl.concat([others, used.select("query_id")])
        rest = work.data.queries.select("query_id").join(remaining, on="query_id", how="anti")
        work.leave_out(rest, "queries_not_selected")

    def _draw(self, examples: pl.Series, wanted: int, seed: int) -> pl.DataFrame:
        salt = f"{self.plan.today} {self.plan.since} {self.plan.trained_examples.rpartition('/')[2]}"
        names = pl.Series([f"{salt} {example:x}" for example in examples], dtype=pl.String)
        return pl.DataFrame([examples, lots(seed, names)]).sort("lot", "example").head(wanted).select("example")


def _older(train: pl.DataFrame, windows: Mapping[str, Window]) -> pl.DataFrame:
    """query_id of the queries before the window of their source; what has no time is in it."""
    if not windows or "time" not in train.columns:
        return train.select("query_id").clear()
    starts = pl.DataFrame(
        {"source": list(windows), "start": [window.start for window in windows.values()]},
        schema={"source": pl.String, "start": train.schema["time"]},
    )
    return train.join(starts, on="source").filter(pl.col("time") < pl.col("start")).select("query_id")


def _window_facts(
    train: pl.DataFrame, older: pl.DataFrame, windows: Mapping[str, Window]
) -> dict[str, dict[str, object]]:
    """Setting of a window -> its start, and how many of its queries are in it, before it, and without a time."""
    facts: dict[str, dict[str, object]] = {}
    for given, start in sorted({(window.given, window.start) for window in windows.values()}):
        sources = [source for source, window in windows.items() if window.given == given]
        queries = train.filter(pl.col("source").is_in(sources))
        before = queries.join(older, on="query_id", how="semi").height
        untimed = queries["time"].null_count() if "time" in queries.columns else queries.height
        facts[given] = {
            "start": start.isoformat(),
            "inside": queries.height - before,
            "before": before,
            "without_time": untimed,
        }
    return facts
