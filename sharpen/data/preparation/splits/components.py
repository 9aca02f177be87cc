"""Which queries hang together: by a shared positive passage, an equal text or a shared group."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sharpen.data.text import key_id

GROUPS = {"text_key": pl.UInt64, "group": pl.String}


def components_of(queries: pl.DataFrame, positives: pl.DataFrame, groups: pl.DataFrame) -> pl.Series:
    """The component of each query, as a name.

    Args:
        queries: query_id, text_key (the same for texts that are the same).
        positives: query_id, passage_id of positive pairs of these queries; may be empty.
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
