"""Which queries hang together: by a shared positive passage, an equal text or a shared group."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sharpen.data.text import key_ids

GROUPS = {"text_key": pl.UInt64, "group": pl.String}


def components_of(queries: pl.DataFrame, positives: pl.DataFrame, groups: pl.DataFrame) -> pl.Series:
    """The component of each query, as a name.

    Passages and groups are told apart by 64-bit hashes, as texts are by their keys.

    Args:
        queries: query_id, text_key (the same for texts that are the same).
        positives: query_id, passage_id of positive pairs of these queries; may be empty.
        groups: text_key, group: queries of one group belong together; may be empty.

    Returns:
        One name per row of `queries`: the smallest group or, without groups, the smallest text key of the component.
        It depends neither on ids nor on the order of rows.
    """
    rows = queries.select("text_key").with_row_index("row")
    grouped = rows.join(groups, on="text_key")
    links = [rows.select("row", node="text_key"), grouped.select("row", node=pl.col("group").hash())]
    if not positives.is_empty():
        shared = positives.select("query_id", node=pl.col("passage_id").hash()).filter(pl.col("node").is_duplicated())
        of_query = queries.select("query_id").with_row_index("row").join(shared, on="query_id")
        links.append(of_query.select("row", "node"))
    # what one query has alone connects nothing
    edges = [one.filter(pl.col("node").is_duplicated()) for one in links]
    labels = _labels(edges, queries.height)
    smallest = grouped.group_by("row").agg(pl.col("group").min())
    named = rows.with_columns(label=pl.Series(labels)).join(smallest, on="row", how="left", maintain_order="left")
    named = named.select(pl.col("group", "text_key").min().over("label"))
    # a leading 0 sorts groups before texts: files keep their names when their functions change
    by_text = pl.lit("1") + pl.lit(key_ids(named["text_key"]))
    return named.select(name=pl.coalesce(pl.lit("0") + pl.col("group"), by_text))["name"]


def _labels(edges: list[pl.DataFrame], queries: int) -> np.ndarray:
    """The number of the component of each of so many queries (n,).

    Args:
        edges: of each kind of what connects queries: row of the query, node.
        queries: their number.
    """
    rows, nodes, size = [], [], queries
    for one in edges:
        rows.append(one["row"].to_numpy())
        nodes.append(one["node"].rank("dense").to_numpy().astype(np.int64) + size - 1)
        size += one["node"].n_unique()
    ends = np.concatenate(rows), np.concatenate(nodes)
    graph = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(size, size))
    return connected_components(graph, directed=False)[1][:queries]


def add_units(queries: pl.DataFrame, positives: pl.DataFrame, groups: pl.DataFrame, rule: str) -> pl.DataFrame:
    """The queries with what is never cut: columns component (as `components_of`) and unit.

    Args:
        queries, positives, groups: as for `components_of`.
        rule: ``group``: a unit is a component; ``time`` or ``hash``: what hangs together by text or group.
    """
    if rule == "group":
        component = components_of(queries, positives, groups)
        return queries.with_columns(component.alias("component"), component.alias("unit"))
    units = components_of(queries, positives.clear(), groups).alias("unit")
    return queries.with_columns(units.alias("component"), units)


def cut_large(queries: pl.DataFrame, groups: pl.DataFrame, largest: float) -> pl.DataFrame:
    """The queries of `add_units` with smaller units in components of more than `largest` queries.

    There, only what hangs together by text or group stays one unit.

    Args:
        queries: query_id, text_key, component, unit.
        groups: as for `components_of`.
        largest: most queries of a component that stays whole.
    """
    large = queries.filter(pl.len().over("component") > largest)
    if large.is_empty():
        return queries
    pairs = pl.DataFrame(schema={"query_id": pl.String, "passage_id": pl.String})
    parts = large.select("query_id", part=components_of(large, pairs, groups))
    cut = queries.join(parts, on="query_id", how="left", maintain_order="left")
    return cut.with_columns(unit=pl.coalesce("part", "unit")).drop("part")
