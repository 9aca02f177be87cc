"""Training queries by their rows instead of their ids, and in which split the units stand that are never cut.

A row or a label takes a sixth of the memory of an id or a name, of which there may be many millions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from sharpen.data.preparation.settings import DataSettings
from sharpen.data.preparation.splits.assignment import TRAIN, Slice, assign
from sharpen.data.preparation.splits.components import Components, components_of, counted, of_rows
from sharpen.data.preparation.splits.earlier import join_earlier
from sharpen.data.preparation.splits.leaks import HELD_OUT
from sharpen.errors import InputError
from sharpen.hardware.spill import in_slices

SPLIT_CODES = {TRAIN: 1, "dev": 2, "test": 3}
"""Split -> its number in an array; 0: none."""


@dataclass(frozen=True)
class Queries:
    """n training queries, of which dev and test are cut.

    Attributes:
        rows: (n,) their rows in the table of all queries, ascending.
        keys: text_key of each.
        earlier: (n,) of `SPLIT_CODES`, the split that earlier runs know; 0: new.
        shared: row (here) and node: the passages that are positives of several, as hashes.
        groups: text_key, group: queries of one group belong together.
        times: the time of each; None: there are none.
    """

    rows: np.ndarray
    keys: pl.Series
    earlier: np.ndarray
    shared: pl.DataFrame
    groups: pl.DataFrame
    times: pl.Series | None

    @classmethod
    def of(cls, train: pl.DataFrame, earlier: pl.DataFrame, shared: pl.DataFrame, groups: pl.DataFrame) -> Queries:
        """Made of tables with rows of the table of all queries.

        Args:
            train: row, text_key and perhaps time.
            earlier: row, earlier (a split).
            shared: row, node, also of other queries.
            groups: text_key, group.
        """
        rows = train["row"].to_numpy()
        known = np.zeros(len(rows), np.uint8)
        known[np.searchsorted(rows, earlier["row"].to_numpy())] = [SPLIT_CODES[split] for split in earlier["earlier"]]
        return cls(
            rows, train["text_key"], known, of_rows(shared, rows), groups, train.get_column("time", default=None)
        )

    def __len__(self) -> int:
        return len(self.rows)

    def components(self, *, shared: bool) -> Components:
        """What hangs together by text or group and, if `shared`, by positives."""
        return components_of(self.keys, self.shared if shared else self.shared.clear(), self.groups)

    def cut(self, components: Components, large: np.ndarray) -> Components:
        """The `components`, but where they are `large` (n,), at their labels, only what hangs together by text or group
        stays one."""
        rows = np.flatnonzero(large[components.labels])
        return components.with_parts(rows, components_of(self.keys.gather(rows), self.shared.clear(), self.groups))

    def components_of_held_out(self, now: np.ndarray) -> pl.DataFrame:
        """row (of all queries) and again: the name of the component that a held-out query has among its split.

        What was cut hangs together with train. Queries of one split that share a passage are no independent evidence.

        Args:
            now: (n,) the split of each, of `SPLIT_CODES`.
        """
        parts = [pl.DataFrame(schema={"row": pl.UInt32, "again": pl.String})]
        for split in HELD_OUT:
            held_out = np.flatnonzero(now == SPLIT_CODES[split])
            found = components_of(self.keys.gather(held_out), of_rows(self.shared, held_out), self.groups)
            parts.append(pl.DataFrame({"row": self.rows[held_out], "again": found.names(found.labels)}))
        return pl.concat(parts)


def splits_of(queries: Queries, units: Components, slices: list[Slice], settings: DataSettings) -> np.ndarray:
    """The split (n,) of each query, of `SPLIT_CODES`.

    Args:
        queries: of which is cut.
        units: what is never cut.
        slices: what is cut out.
        settings: seed, and how splits are cut.

    Raises:
        InputError: splits are cut by time, but no query has one.
    """
    sizes = units.sizes()
    new = counted(units.labels[queries.earlier == 0], len(sizes))
    codes, counts = np.unique(queries.earlier, return_counts=True)
    often = dict(zip(codes.tolist(), counts.tolist(), strict=True))
    fixed = {split: often[code] for split, code in SPLIT_CODES.items() if code in often}
    joined = join_earlier(_mixed(queries, units, sizes, new), len(queries), slices, fixed)
    for label, split in joined.items():
        fixed[split] = fixed.get(split, 0) + int(new[label])
    by_time = settings.split_by == "time"
    if by_time and (queries.times is None or queries.times.null_count() == len(queries)):
        raise InputError(
            "data.split_by is time, but no training query has a time; name the column (columns: {...: time}) or "
            "split by group"
        )
    free = np.flatnonzero((sizes > 0) & (new == sizes)).astype(np.uint32)
    table = in_slices(len(free), lambda start, length: units.names(free[start : start + length]).to_frame("unit"))
    table = table.with_columns(size=pl.Series(sizes[free]))
    if by_time:
        table = table.with_columns(newest=_newest(queries, units)["newest"].gather(free))
    of_unit = np.zeros(len(sizes), np.uint8)
    for row, split in assign(table, slices, settings.seed, fixed=fixed, by_time=by_time).items():
        of_unit[free[row]] = SPLIT_CODES[split]
    for label, split in joined.items():
        of_unit[label] = SPLIT_CODES[split]
    drawn = np.maximum(of_unit[units.labels], SPLIT_CODES[TRAIN])
    return np.where(queries.earlier > 0, queries.earlier, drawn)


def _mixed(queries: Queries, units: Components, sizes: np.ndarray, new: np.ndarray) -> pl.DataFrame:
    """The units with queries that earlier runs know and others, as `join_earlier` takes them.

    Args:
        queries: of all units.
        units: the units.
        sizes, new: (n,) at their labels, how many queries they have, and how many new ones.
    """
    labels = np.flatnonzero((new > 0) & (new < sizes))
    known = {
        split: counted(units.labels[queries.earlier == code], len(sizes))[labels]
        for split, code in (SPLIT_CODES if len(labels) else {}).items()
    }
    return pl.DataFrame({"label": labels, "unit": units.names(labels), "new": new[labels], **known})


def _newest(queries: Queries, units: Components) -> pl.DataFrame:
    """label and newest, the time of the newest query of each unit as a number: a row for each label."""
    times = pl.DataFrame({"label": units.labels, "newest": queries.times})
    newest = times.group_by("label").agg(pl.col("newest").max().to_physical())
    labels = pl.DataFrame({"label": np.arange(len(queries), dtype=np.uint32)})
    return labels.join(newest, on="label", how="left", maintain_order="left")


def facts(
    queries: Queries, units: Components, now: np.ndarray, settings: DataSettings, large: dict[str, int]
) -> dict[str, object]:
    """How the splits came about, for `stats.json`.

    Args:
        queries: that were cut.
        units: what was never cut.
        now: (n,) the split of each query, of `SPLIT_CODES`.
        settings: how splits are cut.
        large: what is said of components that no split takes whole.
    """
    new = queries.earlier == 0
    counts = {
        name: {split: n for split, code in sorted(SPLIT_CODES.items()) if (n := int((codes == code).sum()))}
        for name, codes in (("earlier", queries.earlier), ("new", now[new]))
    }
    found: dict[str, object] = {"split_by": settings.split_by, **counts, "large_components": large}
    if settings.split_by == "time" and queries.times is not None:
        first_time, ties = {}, {}
        table = pl.DataFrame({"now": now, "unit": units.labels, "time": queries.times}).filter(pl.Series(new))
        table = table.with_columns(newest=pl.col("time").max().over("unit"))
        for split in ("test", "dev"):
            first = table.filter(pl.col("now") == SPLIT_CODES[split])["newest"].min()
            if first is not None:
                equal = table.filter(pl.col("newest") == first).group_by("now").len()
                first_time[split] = first.isoformat()  # type: ignore[union-attr]
                ties[split] = equal["len"].sum() if equal.height > 1 else 0
        found |= {"queries_without_time": queries.times.null_count(), "first_time": first_time, "ties": ties}
    return found
