"""Which queries hang together: by a shared positive passage, an equal text or a shared group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sharpen.data.text import key_ids
from sharpen.hardware.sorted_keys import repeated

GROUPS = {"text_key": pl.UInt64, "group": pl.String}


@dataclass(frozen=True)
class Components:
    """The components of n queries. A component is called by the row of its first query, its label.

    Attributes:
        labels: (n,) the label of each query's component.
        smallest: (n,) at a label, the smallest text key of the component.
        groups: label, group: the smallest group of components that have some.
    """

    labels: np.ndarray
    smallest: np.ndarray
    groups: pl.DataFrame

    def names(self, labels: np.ndarray) -> pl.Series:
        """The names of components with these `labels`: the smallest group or, without groups, the smallest text key.

        A name depends neither on ids nor on the order of rows.
        """
        # a leading 0 sorts groups before texts: files keep their names when their functions change
        by_text = pl.lit("1") + pl.lit(key_ids(pl.Series(self.smallest[labels])))
        table = pl.DataFrame({"label": pl.Series(labels, dtype=pl.UInt32)})
        if self.groups.is_empty():
            return table.select(name=by_text)["name"]
        table = table.join(self.groups, on="label", how="left", maintain_order="left")
        return table.select(name=pl.coalesce(pl.lit("0") + pl.col("group"), by_text))["name"]

    def sizes(self) -> np.ndarray:
        """(n,) at a label, the number of queries of the component; elsewhere 0."""
        return counted(self.labels, len(self.labels))

    def with_parts(self, rows: np.ndarray, parts: Components) -> Components:
        """These components, but the queries of some `rows` (m,) in `parts` of their own, which hold whole components.

        No component has queries in those rows and elsewhere.
        """
        labels, smallest = self.labels.copy(), self.smallest.copy()
        labels[rows], smallest[rows] = rows[parts.labels], parts.smallest
        others = self.groups.filter(~pl.col("label").is_in(pl.Series(rows, dtype=pl.UInt32).implode()))
        moved = parts.groups.with_columns(label=pl.Series(rows, dtype=pl.UInt32).gather(parts.groups["label"]))
        return Components(labels, smallest, pl.concat([others, moved]))


def counted(labels: np.ndarray, length: int) -> np.ndarray:
    """How often each of the labels 0, ..., `length` - 1 stands in an array."""
    return np.bincount(labels, minlength=length).astype(np.uint32)


def components_of(keys: pl.Series, shared: pl.DataFrame, groups: pl.DataFrame) -> Components:
    """The components of queries.

    Passages and groups are told apart by 64-bit hashes, as texts are by their keys.

    Args:
        keys: text_key of each query (the same for texts that are the same).
        shared: row, node: the passages that are positives of several queries, as hashes; may be empty.
        groups: text_key, group: queries of one group belong together; may be empty.
    """
    grouped = pl.DataFrame(schema={"row": pl.UInt32, "group": pl.String})
    if not groups.is_empty():
        grouped = pl.DataFrame({"text_key": keys}).with_row_index("row").join(groups, on="text_key")
    again = repeated(keys)
    same_text = pl.DataFrame({"node": keys}).with_row_index("row")
    same_text = same_text.filter(pl.col("node").is_in(again.implode())) if len(again) else same_text.clear()
    links = [same_text, grouped.select("row", node=pl.col("group").hash()), shared]
    labels = _labels([one.select("row", "node") for one in links], len(keys))
    smallest = keys.to_numpy().copy()
    inner = np.flatnonzero(labels != np.arange(len(labels), dtype=labels.dtype))
    np.minimum.at(smallest, labels[inner], smallest[inner])
    of_groups = pl.DataFrame({"label": pl.Series(labels[grouped["row"].to_numpy()]), "group": grouped["group"]})
    return Components(labels, smallest, of_groups.group_by("label").agg(pl.col("group").min()))


def _labels(edges: list[pl.DataFrame], queries: int) -> np.ndarray:
    """The label of the component of each of so many queries (n,).

    Args:
        edges: of each kind of what connects queries: row of the query, node.
        queries: their number.
    """
    labels = np.arange(queries, dtype=np.uint32)
    # what one query has alone connects nothing
    edges = [found for one in edges if not (found := one.filter(pl.col("node").is_duplicated())).is_empty()]
    if not edges:
        return labels
    # only queries that something connects are in the graph
    linked, of_edge = np.unique(np.concatenate([one["row"].to_numpy() for one in edges]), return_inverse=True)
    nodes, size = [], len(linked)
    for one in edges:
        nodes.append(one["node"].rank("dense").to_numpy().astype(np.int64) + size - 1)
        size += one["node"].n_unique()
    ends = of_edge, np.concatenate(nodes)
    graph = coo_array((np.ones(len(of_edge), np.int8), ends), shape=(size, size))
    found = connected_components(graph, directed=False)[1][: len(linked)]
    # the first row of each component
    first = np.full(found.max() + 1, queries, np.uint32)
    np.minimum.at(first, found, linked.astype(np.uint32))
    labels[linked] = first[found]
    return labels


def of_rows(nodes: pl.DataFrame, rows: np.ndarray) -> pl.DataFrame:
    """Of `nodes` (row, node) those of some `rows` (m,), ascending; a row is then its number among them."""
    given = nodes["row"].to_numpy()
    at = np.minimum(np.searchsorted(rows, given), max(0, len(rows) - 1))
    known = rows[at] == given if len(rows) else np.zeros(len(given), bool)
    return nodes.with_columns(row=pl.Series(at, dtype=pl.UInt32)).filter(known)
