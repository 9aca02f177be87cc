"""What earlier runs of a model fix: queries that were dev or test stay there, and what a champion saw is trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from sharpen.data import query_keys
from sharpen.data.preparation.data_plan import DataPlan
from sharpen.data.preparation.splits.assignment import MOST_OF_TARGET, TRAIN, Slice

EARLIER = {"query_id": pl.String, "earlier": pl.String}


def earlier_splits(queries: pl.DataFrame, plan: DataPlan) -> pl.DataFrame:
    """query_id and earlier (train, dev or test) of the queries that earlier runs know, by text or else by id.

    What a champion was trained on is train, whatever else it was; a query that was dev in one run and test in another
    is test.

    Args:
        queries: query_id, text_key.
        plan: names the files of the registry.

    Raises:
        InputError: one of them is damaged or gone.
    """
    held_out = query_keys.read_held_out(plan.held_out)
    known: list[tuple[str, Sequence[int]]] = [(TRAIN, query_keys.read(plan.trained_queries))]
    known += [(split, held_out.get(split, [])) for split in ("test", "dev")]
    tables = [pl.DataFrame({"key": np.asarray(keys, np.uint64), "earlier": split}) for split, keys in known if keys]
    if not tables:
        return pl.DataFrame(schema=EARLIER)
    table = pl.concat(tables).unique("key", keep="first", maintain_order=True)
    ids = pl.Series("id_key", map(query_keys.id_key, queries["query_id"]), dtype=pl.UInt64)
    keyed = queries.select("query_id", "text_key").with_columns(ids)
    for name, key in (("by_text", "text_key"), ("by_id", "id_key")):
        keyed = keyed.join(table.rename({"earlier": name}), left_on=key, right_on="key", how="left")
    return keyed.select("query_id", earlier=pl.coalesce("by_text", "by_id")).drop_nulls("earlier")


def join_earlier(units: pl.DataFrame, slices: Sequence[Slice], fixed: Mapping[str, int]) -> dict[str, str]:
    """Unit -> split of the new queries in units that hold queries of earlier runs.

    They join a unit that was held out whole, as long as its split does not outgrow its share by that. Else, and where
    a unit holds queries of several splits, they are trained on, and what leaks is found by the leak check.

    Args:
        units: unit, size, new (queries that no earlier run knows), train, dev, test (those that one knows).
        slices: the splits that are cut.
        fixed: split -> queries that earlier runs put there.
    """
    queries, total = int(units["size"].sum()), dict(fixed)
    parts = {part.split: part for part in slices}
    found = {}
    mixed = units.filter((pl.col("new") > 0) & (pl.col("new") < pl.col("size"))).sort("unit")
    for row in mixed.iter_rows(named=True):
        held_by = [split for split in (TRAIN, *parts) if row[split]]
        split, new = held_by[0], row["new"]
        if len(held_by) > 1 or split == TRAIN or not _fits(parts[split], queries, total.get(split, 0), new):
            split = TRAIN
        found[row["unit"]] = split
        total[split] = total.get(split, 0) + new
    return found


def _fits(part: Slice, queries: int, before: int, new: int) -> bool:
    most = min(math.ceil(MOST_OF_TARGET * part.target(queries)), part.most)
    return new <= part.largest(queries) and before + new <= most
