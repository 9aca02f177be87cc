"""Cutting queries into train, dev and test so that nothing is shared between the splits.

Queries that share a positive passage, a text or a group (a source file) stand in one component of the graph that
these make, and a component is never cut. Which components are held out is drawn by a hash of their names, so that
training again on more data rarely moves a query from one split to another.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sharpen.data.text import key_id

LEAST_OF_TARGET, MOST_OF_TARGET = 0.9, 1.1
GROUPS = {"text_key": pl.UInt64, "group": pl.String}


@dataclass(frozen=True)
class Slice:
    """One split to cut out: its name, its share of the queries, and the most queries that it may get."""

    split: str
    share: float
    most: int


def lot(seed: int, name: str) -> float:
    """A number in [0, 1) drawn for a name: the same for the same seed and name, on every machine."""
    digest = hashlib.blake2b(f"{seed}\n{name}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def components_of(queries: pl.DataFrame, positives: pl.DataFrame, groups: pl.DataFrame) -> pl.Series:
    """The component of each query, as a name.

    Args:
        queries: query_id, text_key (the same for texts that are the same).
        positives: query_id, passage_id of positive pairs of these queries.
        groups: text_key, group: queries of one group belong together; may be empty.

    Returns:
        One name per row of `queries`: the smallest group or, without groups, the smallest text key of the component.
        It depends neither on ids nor on the order of rows.
    """
    text_ids = pl.Series("text_id", map(key_id, queries["text_key"]), dtype=pl.String)
    queries = queries.select("query_id", "text_key", text_ids)
    grouped = queries.join(groups, on="text_key", how="left")
    links = pl.concat(
        [
            positives.select("query_id", node=pl.lit("p:") + pl.col("passage_id")),
            queries.select("query_id", node=pl.lit("t:") + pl.col("text_id")),
            grouped.drop_nulls("group").select("query_id", node=pl.lit("g:") + pl.col("group")),
        ]
    )
    position = queries.select("query_id").with_row_index("row")
    edges = links.join(position, on="query_id").with_columns(node=pl.col("node").rank("dense") - 1)
    rows = edges["row"].to_numpy().astype(np.int64)
    nodes = edges["node"].to_numpy().astype(np.int64) + queries.height
    size = int(nodes.max()) + 1 if len(nodes) else queries.height
    graph = coo_array((np.ones(len(rows), np.int8), (rows, nodes)), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    # a leading 0 sorts groups before texts: files keep their names when their functions change
    names = grouped.group_by("query_id").agg(
        name=pl.min_horizontal(pl.lit("0") + pl.col("group").min(), pl.lit("1") + pl.col("text_id").min())
    )
    labelled = queries.select("query_id").with_columns(label=pl.Series(labels[: queries.height]))
    return labelled.join(names, on="query_id", how="left", maintain_order="left").select(
        pl.col("name").min().over("label")
    )["name"]


def assign(sizes: dict[str, int], slices: list[Slice], seed: int) -> dict[str, str]:
    """Component -> split for the components that are cut out; all others stay in train.

    Every component draws a lot in [0, 1), and every slice owns an interval as wide as its share. A slice takes the
    components in its interval, up to `MOST_OF_TARGET` of its share, and goes on behind the interval while it has less
    than `LEAST_OF_TARGET`. So with many components a query keeps its split when data are added, and with few the
    splits still have about their sizes. A component larger than half a slice is not taken, so that no single file
    makes a test set. A slice that would stay empty gets the smallest component, and train keeps one always.

    Args:
        sizes: component -> number of queries.
        slices: what to cut out; their intervals lie one behind the other from 0.
        seed: seed of the lots.
    """
    lots = {name: lot(seed, name) for name in sizes}
    taken: dict[str, str] = {}
    start = 0.0
    for part in slices:
        left = sorted((name for name in sizes if name not in taken), key=lambda name: ((lots[name] - start) % 1, name))
        inside = {name for name in left if (lots[name] - start) % 1 < part.share}
        chosen = _fill(part, {name: sizes[name] for name in left}, inside, sum(sizes.values()))
        if not chosen and part.share and len(left) > 1:
            smallest = min(left, key=lambda name: (sizes[name], lots[name]))
            chosen = [smallest] if sizes[smallest] <= part.most else []
        taken |= dict.fromkeys(chosen[: len(left) - 1], part.split)
        start += part.share
    return taken


def _fill(part: Slice, sizes: dict[str, int], inside: set[str], queries: int) -> list[str]:
    """The components that a slice takes, of those in `sizes`, in this order; `inside` are in its interval."""
    target = min(part.share * queries, part.most)
    most = min(math.ceil(MOST_OF_TARGET * target), part.most)
    chosen, total = [], 0
    for name, size in sizes.items():
        if name not in inside and total >= LEAST_OF_TARGET * target:
            break
        if size <= max(1, target / 2) and total + size <= most:
            chosen.append(name)
            total += size
    return chosen
