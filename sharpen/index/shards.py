"""The Parquet files of an index: one row a vector, in the order of the FAISS file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from sharpen.embeddings import PassageRows
from sharpen.index.manifest import Shard
from sharpen.index.quantization import Codec
from sharpen.progress import progress

FOLDER = "embeddings"
ID, VECTOR, TITLE, TEXT, WINDOW = "passage_id", "vector", "title", "text", "window"

_MOST_ROWS = 100_000
_MOST_BYTES = 256 << 20
# few, so that the text of one passage can be had without reading a whole file
_ROWS_A_GROUP = 5_000


def rows_a_file(codec: Codec) -> int:
    """Rows of each file but the last: at most 100,000, and at most 256 MiB of float32 vectors while it is written."""
    return max(1, min(_MOST_ROWS, _MOST_BYTES // (4 * codec.dimension)))


def write(folder: Path, passages: pl.DataFrame, vectors: np.ndarray, codec: Codec, *, texts: bool) -> list[Shard]:
    """Write ``embeddings/part-*.parquet``.

    Args:
        folder: of the index.
        passages: one row a vector, as `Corpus.table` gives them.
        vectors: (m, d) float vectors, read block by block.
        codec: how they are stored.
        texts: whether title and text are written too.
    """
    (folder / FOLDER).mkdir()
    columns = [name for name in (ID, WINDOW, *([TITLE, TEXT] if texts else [])) if name in passages.columns]
    size = rows_a_file(codec)
    written = []
    with progress("Writing vectors", len(passages), "vectors") as reporter:
        for number, start in enumerate(range(0, len(passages), size)):
            part = passages[start : start + size].select(columns)
            part = part.insert_column(1, codec.column(codec.encode(vectors[start : start + size])))
            name = f"{FOLDER}/part-{number:05}.parquet"
            part.write_parquet(folder / name, compression="zstd", row_group_size=_ROWS_A_GROUP)
            written.append(Shard(name=name, rows=len(part)))
            reporter.advance(len(part))
    return written


def read_codes(folder: Path, shard: Shard, codec: Codec) -> np.ndarray:
    """The codes of one `shard` in a `folder`, (rows, .), as `Codec.encode` gave them."""
    column = pl.read_parquet(folder / shard.name, columns=[VECTOR], glob=False)[VECTOR]
    if codec.precision == "binary":
        joined = b"".join(column.to_list())
        return np.frombuffer(joined, dtype=np.uint8).reshape(len(column), codec.bytes_per_vector)
    return column.to_numpy()


def columns_of(folder: Path, shard: Shard) -> dict[str, str]:
    """Name -> type of the columns of a file."""
    return {name: str(kind) for name, kind in pl.scan_parquet(folder / shard.name, glob=False).collect_schema().items()}


def passages_at(folder: Path, shards: Sequence[Shard], rows: Sequence[int]) -> pl.DataFrame:
    """Id, window, and title and text, those that are stored, of what is in these `rows` of the `shards` in `folder`."""
    ends = np.cumsum([shard.rows for shard in shards])
    found = []
    for row in rows:
        number = int(np.searchsorted(ends, row, side="right"))
        offset = row - (int(ends[number - 1]) if number else 0)
        scan = pl.scan_parquet(folder / shards[number].name, glob=False)
        names = [name for name in (ID, WINDOW, TITLE, TEXT) if name in scan.collect_schema()]
        found.append(scan.select(names).slice(offset, 1).collect())
    return pl.concat(found) if found else pl.DataFrame(schema={ID: pl.String})


def passage_rows(folder: Path, shards: Sequence[Shard]) -> PassageRows | None:
    """Which passage each row of the `shards` in `folder` is of; None: each is of another one."""
    if WINDOW not in columns_of(folder, shards[0]):
        return None
    files = [folder / shard.name for shard in shards]
    windows = pl.concat([pl.read_parquet(file, columns=[WINDOW], glob=False) for file in files])[WINDOW].to_numpy()
    return PassageRows(np.cumsum(windows == 1) - 1)
