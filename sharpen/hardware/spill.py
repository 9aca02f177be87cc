"""Tables that need not fit into memory: rows are written to files as they come, results are mapped from files.

What is done to all rows at once is done by polars' streaming engine, which writes to disk what exceeds its budget of
memory; what is done to the rows of one key, to ranges of keys one after another.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.ipc

ROWS_IN_MEMORY = 50_000
BUDGET_MB = 256
RANGE_BYTES = 2**26
# pages of files in memory, a process's libraries included, beyond which they are given back; how often it is looked at
_PAGES_BYTES, _SECONDS = 2**28, 0.02
# rows of a table that is made in slices
_SLICE = 500_000
# texts that are read at once where each may stand in another part of a file
_SCATTERED = 500
# of so many keys one is looked at where ranges are made
_SAMPLED = 20
# no column of a table is called so
_PART = "number of the range"
_BUDGET = "POLARS_OOC_MEMORY_BUDGET_MB"


def limit_memory() -> None:
    """Give polars' streaming engine `BUDGET_MB`, unless the environment says another number."""
    if _BUDGET not in os.environ:
        os.environ[_BUDGET] = str(BUDGET_MB)
        pl._plr.config_reload_env_vars()  # type: ignore[attr-defined]


class Rows:
    """Rows of a table that come one by one or in tables: the last ones in memory, those before them in files.

    Args:
        schema: the columns.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = dict(schema)
        self._rows: list[tuple[Any, ...]] = []
        self._tables: list[pl.DataFrame] = []
        self._in_memory = self._written = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def add(self, *row: Any) -> None:
        """Add one row; the values of its columns in their order."""
        self._rows.append(row)
        self._in_memory += 1
        if self._in_memory >= ROWS_IN_MEMORY:
            self._write()

    def extend(self, table: pl.DataFrame) -> None:
        """Add the rows of a `table` with the columns of the schema."""
        if not table.is_empty():
            self._tables += [self._frame(), table]
            self._rows = []
            self._in_memory += table.height
            if self._in_memory >= ROWS_IN_MEMORY:
                self._write()

    def __len__(self) -> int:
        return self._written + self._in_memory

    @property
    def on_disk(self) -> bool:
        """Whether there are more rows than are held in memory."""
        return self._written > 0

    def lazy(self) -> pl.LazyFrame:
        """All rows, in the order in which they came; the files live as long as this object."""
        files = self._files()
        return pl.scan_ipc(files) if files else self._all_in_memory().lazy()

    def by_ranges(self, key: str, finish: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
        """What `finish` makes of the rows, mapped where there are files.

        It is given ranges of the texts in the column `key`, one after another in their order, and of each all rows.
        """
        files = self._files()
        if not files:
            return finish(self._all_in_memory())
        parts = sum(file.stat().st_size for file in files) // RANGE_BYTES + 1
        keys = pl.concat(pl.scan_ipc(file).select(pl.col(key).gather_every(_SAMPLED)).collect() for file in files)
        sampled = keys[key].sort()
        bounds = sampled.gather([len(sampled) * part // parts for part in range(1, parts)]).unique(maintain_order=True)
        with tempfile.TemporaryDirectory(prefix="sharpen-ranges-") as name:
            ranges: dict[int, list[Path]] = defaultdict(list)
            for number, file in enumerate(files):
                table = pl.read_ipc(file)
                of_row = bounds.search_sorted(table[key], side="right").alias(_PART)
                divided = table.with_columns(of_row).partition_by(_PART, include_key=False, as_dict=True)
                for (part,), rows in divided.items():
                    path = Path(name) / f"{part}-{number}.arrow"
                    rows.write_ipc(path)
                    ranges[part].append(path)
            return _mapped_tables(
                finish(pl.concat([pl.read_ipc(path) for path in ranges.pop(part)])) for part in sorted(ranges)
            )

    def _files(self) -> list[Path]:
        if self._folder and self._in_memory:
            self._write()
        return sorted(Path(self._folder.name).iterdir()) if self._folder else []

    def _write(self) -> None:
        if not self._folder:
            self._folder = tempfile.TemporaryDirectory(prefix="sharpen-rows-")
        self._all_in_memory().write_ipc(Path(self._folder.name) / f"{self._written:012d}.arrow")
        self._written += self._in_memory
        self._rows, self._tables, self._in_memory = [], [], 0

    def _all_in_memory(self) -> pl.DataFrame:
        return pl.concat([*self._tables, self._frame()])

    def _frame(self) -> pl.DataFrame:
        columns = [list(column) for column in zip(*self._rows, strict=True)] or [[] for _ in self.schema]
        return pl.DataFrame(dict(zip(self.schema, columns, strict=True)), schema=self.schema)


def mapped(query: pl.LazyFrame) -> pl.DataFrame:
    """The result of a query as a table whose values stay on disk, in a file that goes when the table does."""
    with tempfile.TemporaryDirectory(prefix="sharpen-table-") as folder:
        path = Path(folder) / "table.arrow"
        query.sink_ipc(path, engine="streaming")
        return _map(path)


def on_disk(table: pl.DataFrame) -> pl.DataFrame:
    """The table, mapped from a file where it has more rows than are held in memory elsewhere."""
    return mapped(table.lazy()) if table.height > ROWS_IN_MEMORY else table


def collected(query: pl.LazyFrame, rows: int) -> pl.DataFrame:
    """The result of a query with at most so many `rows`: mapped where those are more than are held in memory."""
    return mapped(query) if rows > ROWS_IN_MEMORY else query.collect(engine="streaming")


def in_slices(rows: int, make: Callable[[int, int], pl.DataFrame]) -> pl.DataFrame:
    """A table of so many `rows`, of which `make` gives those from a row on, and so many; mapped where it is large."""
    if rows <= ROWS_IN_MEMORY:
        return make(0, rows)
    return _mapped_tables(make(start, min(_SLICE, rows - start)) for start in range(0, rows, _SLICE))


def rows_of(table: pl.DataFrame, rows: pl.Series) -> pl.DataFrame:
    """Some rows of a table, by their numbers, which ascend.

    Taken slice by slice: of a column in many parts polars makes one part first, which is another column in memory.
    """
    parts = [table.clear()]
    for start in range(0, table.height, _SLICE):
        first, last = rows.search_sorted(start), rows.search_sorted(start + _SLICE)
        if first < last:
            parts.append(table.slice(start, _SLICE)[rows.slice(first, last - first) - start])
    return pl.concat(parts)


def with_column(table: pl.DataFrame, column: pl.Series) -> pl.DataFrame:
    """The table with another column, the parts of all columns cut at the same rows.

    Where they differ, polars makes one part of every column that goes through an expression, all of it in memory.
    """
    whole = table.with_columns(column)
    ends = sorted({end for one in whole for end in accumulate(one.chunk_lengths())})
    return pl.concat([whole.slice(start, end - start) for start, end in pairwise([0, *ends])], rechunk=False)


def with_constant(table: pl.DataFrame, name: str, value: Any, kind: Any) -> pl.DataFrame:
    """The table with a column that holds one value.

    Args:
        table: of any number of rows, for most of which the column takes no memory.
        name: of the column.
        value, kind: what it holds, and its type.
    """
    part = pl.repeat(value, min(_SLICE, table.height), dtype=kind, eager=True).alias(name)
    parts = [part.slice(0, min(_SLICE, table.height - start)) for start in range(0, table.height, _SLICE)]
    return with_column(table, pl.concat([part.clear(), *parts], rechunk=False))


def same_values(one: pl.Series, other: pl.Series) -> bool:
    """Whether two columns have the same values in the same order; looked at part by part."""
    starts = range(0, len(one), _SLICE)
    return len(one) == len(other) and all(one.slice(n, _SLICE).equals(other.slice(n, _SLICE)) for n in starts)


def in_memory(texts: pl.Series) -> list[str]:
    """Texts that may be scattered over mapped files: each maps pages around it, which are given back meanwhile."""
    found: list[str] = []
    for start in range(0, len(texts), _SCATTERED):
        found.extend(texts.slice(start, _SCATTERED))
        _PAGES.give_back()
    return found


def _mapped_tables(tables: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The tables, of which only one is in memory at a time, below each other."""
    with tempfile.TemporaryDirectory(prefix="sharpen-table-") as folder:
        parts = []
        for number, table in enumerate(tables):
            path = Path(folder) / f"{number}.arrow"
            table.write_ipc(path)
            parts.append(_map(path))
        return pl.concat(parts, rechunk=False)


def _map(path: Path) -> pl.DataFrame:
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    _PAGES.add(mapping)
    table = pl.from_arrow(pyarrow.ipc.open_file(pa.BufferReader(pa.py_buffer(mapping))).read_all())
    assert isinstance(table, pl.DataFrame)
    return table


class _Pages:
    """The pages of mapped files: while there are mapped files, a thread gives them back when they become many.

    They stay in the system's cache, from where they are read again; but they no longer count as this process's. The
    system can take such pages by itself when memory is short, so that they end no process; but while they are mapped
    they count in its resident memory and in a container's working set, by which Kubernetes evicts pods and people
    choose limits: without this, all tables of the data count, which for ten million rows is more than 4 GiB.
    """

    def __init__(self) -> None:
        self._files: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, file: mmap.mmap) -> None:
        """Watch a mapped `file`, as long as anybody uses it."""
        with self._lock:
            self._files.add(file)
            if not self._thread:
                self._thread = threading.Thread(target=self._watch, daemon=True, name="pages-of-mapped-files")
                self._thread.start()

    def _watch(self) -> None:
        wait = threading.Event().wait
        while True:
            wait(_SECONDS)
            with self._lock:
                if not self._files:
                    self._thread = None
                    return
            self.give_back()

    def give_back(self) -> None:
        """Give pages back if they are many."""
        if _bytes_of_files() > _PAGES_BYTES:
            with self._lock:
                files = list(self._files)
            _release(files)


def _release(files: list[mmap.mmap]) -> None:
    for file in files:
        file.madvise(mmap.MADV_DONTNEED)


def _bytes_of_files() -> int:
    """Pages of files in this process's memory, its libraries included; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[2]) * mmap.PAGESIZE
    except (OSError, IndexError, ValueError):
        return 0


_PAGES = _Pages()
