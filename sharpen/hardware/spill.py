"""Tables that need not fit into memory: rows are written to files as they come, results are mapped from files.

The work in between is polars' streaming engine, which writes to disk what exceeds its budget of memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.ipc

ROWS_IN_MEMORY = 50_000
BUDGET_MB = 256
_BUDGET = "POLARS_OOC_MEMORY_BUDGET_MB"


def limit_memory() -> None:
    """Give polars' streaming engine `BUDGET_MB`, unless the environment says another number."""
    if _BUDGET not in os.environ:
        os.environ[_BUDGET] = str(BUDGET_MB)
        pl._plr.config_reload_env_vars()  # type: ignore[attr-defined]


class Rows:
    """Rows of a table that come one by one: the last ones in memory, those before them in files.

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
        if not self._folder:
            return self._all_in_memory().lazy()
        if self._in_memory:
            self._write()
        return pl.scan_ipc(Path(self._folder.name) / "*.arrow")

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
        table = pl.from_arrow(pyarrow.ipc.open_file(pa.memory_map(str(path))).read_all())
    assert isinstance(table, pl.DataFrame)
    return table
