"""Reading Parquet files that may be damaged: every fault of the file is one line.

Files of users are read by Arrow, which raises for any damage. Our own, whose checksums were compared before, are read
by polars, which takes less memory, but ends the process where a damaged page claims more values than fit into memory.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from sharpen.errors import InputError


def read_parquet(path: Path, shown: str) -> pl.DataFrame:
    """The table in a Parquet file of ours. Raises InputError, which names `shown`, when it cannot be read."""
    with parquet_faults(shown):
        return pl.read_parquet(path, glob=False)


def read_users_parquet(path: Path, shown: str) -> pl.DataFrame:
    """The table in a Parquet file of a user's. Raises InputError, which names `shown`, when it cannot be read."""
    with parquet_faults(shown), arrow_faults(shown), parquet.ParquetFile(path) as file:
        table = file.read()
        # polars takes texts for UTF-8 unseen
        table.validate(full=True)
        return pl.DataFrame(table)


@contextmanager
def arrow_faults(shown: str) -> Iterator[None]:
    """Turn what Arrow raises for a damaged file into an InputError of one line that names `shown`."""
    try:
        yield
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError, ValueError, OverflowError, MemoryError) as error:
        reason = str(error).strip().split("\n", 1)[0][:200] or type(error).__name__
        raise InputError(f"{shown}: not a table file that can be read ({reason}); write it again") from None


@contextmanager
def parquet_faults(shown: str) -> Iterator[None]:
    """Turn what polars raises for a damaged file, a panic of its Rust code too, into an InputError of one line."""
    try:
        with _without_panic_message():
            yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, OverflowError) as error:
        reason = str(error).strip().split("\n", 1)[0][:200] or type(error).__name__
        raise InputError(f"{shown}: not a Parquet file that can be read ({reason}); write it again") from None


@contextmanager
def _without_panic_message() -> Iterator[None]:
    """Drop what Rust itself prints about a panic; anything else that is written to stderr meanwhile is kept."""
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        panicked = False
        try:
            yield
        except pl.exceptions.PanicException:
            panicked = True
            raise
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            if not panicked and written.seek(0, os.SEEK_END):
                written.seek(0)
                with open(2, "wb", closefd=False) as stderr:
                    shutil.copyfileobj(written, stderr)
