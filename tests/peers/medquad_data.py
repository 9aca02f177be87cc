"""MedQuAD as Sharpen's own data set, whole or cut, for the benchmarks of mining and quality."""

from __future__ import annotations

import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl

from sharpen.data.dataset import DataSet
from sharpen.data.preparation.prepare import prepare
from sharpen.data.preparation.settings import DataSettings
from sharpen.store import storage
from tests.peers.rows import medquad, stop


def prepared() -> DataSet:
    """The collection after data_prep: queries with equal text are one query with all their positives."""
    source = str(medquad())
    with tempfile.TemporaryDirectory(prefix="bench-medquad-") as folder, redirect_stdout(StringIO()):
        prepare([source], [], f"{folder}/data", DataSettings.checked({}))
        return DataSet.open(f"{folder}/data")


def cut(
    data: DataSet, *, train: int | None, test: int | None, passages: int | None, seed: int, dev: int = 0
) -> DataSet:
    """A part of the data: random queries, all their relevant passages, and random other passages.

    Args:
        data: the whole.
        train, test: queries to keep of these splits; None: all.
        passages: size of the corpus; None: all passages.
        seed: of the draws.
        dev: queries to keep of dev.
    """
    draw = np.random.default_rng(seed)
    counts = {"train": train, "test": test} | ({"dev": dev} if dev else {})
    kept = pl.concat([_sample(data.queries_of(split), count, draw) for split, count in counts.items()])
    qrels = data.qrels.join(kept, on="query_id", how="semi")
    corpus = data.corpus
    if passages is not None:
        relevant = corpus.join(qrels, on="passage_id", how="semi")
        if relevant.height > passages:
            stop(
                f"the queries have {relevant.height:,} relevant passages: ask for that many passages, or fewer queries"
            )
        others = corpus.join(qrels, on="passage_id", how="anti")
        corpus = pl.concat([relevant, _sample(others, passages - relevant.height, draw)])
    return DataSet(corpus.sort("passage_id"), kept.sort("query_id"), qrels)


def publish(data: DataSet, folder: Path) -> None:
    """Write a finished data set that every step reads."""
    with storage.publish(str(folder), producer="data_prep", run_id="bench", rows=data.counts(), facts={}) as target:
        data.save(target)


def _sample(table: pl.DataFrame, count: int | None, draw: np.random.Generator) -> pl.DataFrame:
    if count is None:
        return table
    if count > table.height:
        stop(f"there are only {table.height:,} of what was asked for {count:,} times; lower --queries or --passages")
    return table[np.sort(draw.permutation(table.height)[:count])]
