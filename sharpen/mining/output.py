"""The files of the negatives folder, written block by block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from sharpen.data.dataset import INCONSISTENT_QUERIES, NEGATIVES, TEACHER_SCORES, write_table
from sharpen.mining.corpus import MiningCorpus
from sharpen.mining.rules import NOT_RANKED, Ranking
from sharpen.mining.selection import PICKED_BY, Choice

TABLE, INCONSISTENT, TEACHER = "negatives", "inconsistent", "teacher_scores"
REPORT, PAGE = "report.json", "report.html"

# What readers of `NEGATIVES` need not know: the source that gave a negative its rank; empty for random draws.
WITH_SOURCE = {**NEGATIVES, "source": pl.String}

_ROWS_A_PART = 500_000


class NegativesWriter:
    """Writes ``negatives/part-*.parquet`` (`WITH_SOURCE`), and the list of inconsistent queries if there is one.

    Args:
        folder: the folder to write into.
        pool: gives the ids.
        sources: names of the sources, in the order of their numbers.
        teacher_scores: `records.TEACHER_SCORES`; the score of a chosen pair is written with it, unless `add` gets one.
    """

    def __init__(self, folder: Path, pool: MiningCorpus, sources: Sequence[str], teacher_scores: pl.DataFrame) -> None:
        self.folder, self.teacher_scores = folder, teacher_scores.unique(["query_id", "passage_id"], keep="first")
        self.query_ids = pl.Series(pool.query_ids, dtype=pl.String)
        self.passage_ids = pl.Series(pool.passage_ids, dtype=pl.String)
        self.sources = pl.Series([*sources, None], dtype=pl.String)  # number -1 is the last: no source
        self.waiting: list[pl.DataFrame] = []
        self.inconsistent: list[pl.DataFrame] = []
        self.parts = 0
        (folder / TABLE).mkdir()

    def add(
        self,
        ranking: Ranking,
        choice: Choice,
        best_ranks: np.ndarray,
        inconsistent: np.ndarray,
        dropped: np.ndarray,
        rescored: np.ndarray | None = None,
    ) -> None:
        """Take one block: its negatives, but for dropped queries, and its inconsistent queries.

        `rescored` holds the cross-encoder's score of each negative of the choice.

        Args:
            ranking, choice: candidates of the block's queries, and the chosen ones.
            best_ranks: (n,) rank of each query's best positive.
            inconsistent, dropped: (n,) flags.
            rescored: the cross-encoder's score of each chosen negative.
        """
        written = ~dropped[choice.row]
        rows, rank = choice.row[written], choice.rank[written]
        table = pl.DataFrame(
            {
                "query_id": self.query_ids.gather(ranking.queries[rows]),
                "passage_id": self.passage_ids.gather(choice.passage[written]),
                "rank": rank,
                "score": choice.score[written],
                "positive_score": ranking.anchors[rows],
                "picked_by": pl.Series(PICKED_BY).gather(choice.picked_by[written]),
                "source": self.sources.gather(choice.source[written] % len(self.sources)),
            }
        ).with_columns(pl.when(pl.col("rank") != NOT_RANKED).then("rank"))
        if rescored is None:
            scores = self.teacher_scores.rename({"score": "teacher_score"})
            table = table.join(scores, on=["query_id", "passage_id"], how="left", maintain_order="left")
        else:
            table = table.with_columns(teacher_score=rescored[written])
        self.waiting.append(table.select(pl.col(name).cast(kind) for name, kind in WITH_SOURCE.items()))
        if sum(map(len, self.waiting)) >= _ROWS_A_PART:
            self._flush()
        rows = np.flatnonzero(inconsistent)
        self.inconsistent.append(
            pl.DataFrame(
                {
                    "query_id": self.query_ids.gather(ranking.queries[rows]),
                    "best_positive_rank": pl.Series([int(value) or None for value in best_ranks[rows]], dtype=pl.Int32),
                    "positive_score": ranking.anchors[rows],
                    "dropped": dropped[rows],
                },
                schema=INCONSISTENT_QUERIES,
            )
        )

    def add_positives(self, pool: MiningCorpus, rescored: np.ndarray) -> None:
        """Write the cross-encoder's score of each pair of ``pool.positives`` into ``teacher_scores/``."""
        table = pl.DataFrame(
            {
                "query_id": self.query_ids.gather(pool.positives.queries),
                "passage_id": self.passage_ids.gather(pool.positives.numbers),
                "score": rescored,
            }
        )
        write_table(table, self.folder / TEACHER, TEACHER_SCORES)

    def close(self, *, with_inconsistent: bool) -> None:
        """Write what is waiting; at least one part is written, so the table is there even if it is empty."""
        if self.waiting or not self.parts:
            self._flush()
        if with_inconsistent:
            (self.folder / INCONSISTENT).mkdir()
            table = pl.concat([pl.DataFrame(schema=INCONSISTENT_QUERIES), *self.inconsistent])
            table.write_parquet(self.folder / INCONSISTENT / "part-00000.parquet")

    def _flush(self) -> None:
        table = pl.concat([pl.DataFrame(schema=WITH_SOURCE), *self.waiting])
        table.write_parquet(self.folder / TABLE / f"part-{self.parts:05}.parquet", compression="zstd")
        self.parts += 1
        self.waiting = []
