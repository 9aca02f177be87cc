"""What earlier runs of a model fix: queries that were dev or test stay there, and what a champion saw is trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from sharpen.data import query_keys
from sharpen.data.preparation.data_plan import DataPlan
from sharpen.data.preparation.splits.assignment import MOST_OF_TARGET, TRAIN, Slice

EARLIER = {"row": pl.UInt32, "earlier": pl.String}


def earlier_splits(queries: pl.DataFrame, ids: pl.Series, plan: DataPlan) -> pl.DataFrame:
    """row and earlier (train, dev or test) of the queries that earlier runs know, by text or else by id.

    What a champion was trained on is train, whatever else it was; a query that was dev in one run and test in another
    is test.

    Args:
        queries: row, text_key.
        ids: query_id of each row.
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
    id_keys = pl.Series("id_key", map(query_keys.id_key, ids.gather(queries["row"])), dtype=pl.UInt64)
    keyed = queries.select("row", "text_key").with_columns(id_keys)
    for name, key in (("by_text", "text_key"), ("by_id", "id_key")):
        keyed = keyed.join(table.rename({"earlier": name}), left_on=key, right_on="key", how="left")
    return keyed.select("row", earlier=pl.coalesce("by_text", "by_id")).drop_nulls("earlier")


def join_earlier(
    mixed: pl.DataFrame, queries: int, slices: Sequence[Slice], fixed: Mapping[str, int]
) -> dict[int, str]:
    """Label of a unit -> split of the new queries in units that hold queries of earlier runs.

    They join a unit that was held out whole, as long as its split does not outgrow its share by that. Else, and where
    a unit holds queries of several splits, they are trained on, and what leaks is found by the leak check.

    Args:
        mixed: these units: label, unit (its name), new (queries that no earlier run knows), train, dev, test (those
            that one knows).
        queries: how many there are.
        slices: the splits that are cut.
        fixed: split -> queries that earlier runs put there.
    """
    total = dict(fixed)
    parts = {part.split: part for part in slices}
    found = {}
    for row in mixed.sort("unit").iter_rows(named=True):
        held_by = [split for split in (TRAIN, *parts) if row[split]]
        split, new = held_by[0], row["new"]
        if len(held_by) > 1 or split == TRAIN or not _fits(parts[split], queries, total.get(split, 0), new):
            split = TRAIN
        found[row["label"]] = split
        total[split] = total.get(split, 0) + new
    return found


def _fits(part: Slice, queries: int, before: int, new: int) -> bool:
    most = min(math.ceil(MOST_OF_TARGET * part.target(queries)), part.most)
    return new <= part.largest(queries) and before + new <= most
