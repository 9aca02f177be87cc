"""The cross-encoder's scores of a pool's pairs, a block of queries at a time, kept so that a killed run goes on."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from components.core import storage
from components.core.download_cache import cache_folder
from components.core.settings import EncoderSettings
from components.hard_negatives.cross_encoder import CrossEncoder
from components.hard_negatives.pool import Pool
from components.hard_negatives.rules import Ranking, ScorePairs
from components.hard_negatives.settings import MiningSettings

# Queries whose pairs are scored, chosen from and kept together.
QUERIES_AT_ONCE = 128


class Rescorer:
    """Scores pairs of the pool, each pair once.

    What was scored is kept in the cache under a hash of model, settings, passages and the block's queries, so that a
    second run, whether the first was killed or has other mining settings, scores only what is new.

    Args:
        cross_encoder: the model.
        pool: queries and passages.

    Attributes:
        positives: float32, the score of each pair of ``pool.positives`` in the blocks so far.
        scored: how many pairs the model scored; those from the cache are not among them.
    """

    def __init__(self, cross_encoder: CrossEncoder, pool: Pool) -> None:
        self.cross_encoder, self.pool = cross_encoder, pool
        self.positives = np.full(len(pool.positives), np.nan, dtype=np.float32)
        self.scored = 0
        digest = hashlib.sha256(cross_encoder.identity.encode())
        for passage in pool.passages:
            digest.update(hashlib.sha256(passage.encode()).digest())
        self.folder = cache_folder() / "rescoring" / digest.hexdigest()[:40]

    @contextmanager
    def block(self, ranking: Ranking) -> Iterator[tuple[Ranking, ScorePairs]]:
        """The ranking of a run of consecutive queries with its `rescored_anchors`, and what scores their pairs."""
        first, last = int(ranking.queries[0]), int(ranking.queries[-1]) + 1
        scores = _Scores(self, first, self._path(first, last))
        pairs = self.pool.positives.within(first, last)
        low = int(np.searchsorted(self.pool.positives.keys, first * self.pool.positives.width))
        found = scores(pairs.queries, pairs.numbers)
        self.positives[low : low + len(pairs)] = found
        anchors = np.full(last - first, np.inf, dtype=np.float32)
        np.minimum.at(anchors, pairs.queries - first, found)
        try:
            yield replace(ranking, rescored_anchors=anchors), scores
        finally:
            scores.keep()

    def _path(self, first: int, last: int) -> Path:
        texts = "\0".join(self.pool.queries[first:last])
        return self.folder / f"{hashlib.sha256(texts.encode()).hexdigest()[:40]}.npz"


def make_rescorer(settings: MiningSettings, encoder: EncoderSettings, pool: Pool) -> Rescorer | None:
    """The cross-encoder of the settings, or None. Raises InputError as `CrossEncoder.load`."""
    if not settings.rescoring_model:
        return None
    return Rescorer(CrossEncoder.load(settings.rescoring_model, settings.rescoring_max_len, encoder), pool)


@contextmanager
def rescored(rescorer: Rescorer | None, ranking: Ranking) -> Iterator[tuple[Ranking, ScorePairs | None]]:
    """`Rescorer.block`, or the ranking as it is where there is no cross-encoder."""
    if rescorer is None:
        yield ranking, None
        return
    with rescorer.block(ranking) as (anchored, scores):
        yield anchored, scores


class _Scores:
    """The scores of one block, by key: row of the query in the block x passages + row of the passage."""

    def __init__(self, rescorer: Rescorer, first: int, path: Path) -> None:
        self.rescorer, self.first, self.path = rescorer, first, path
        self.keys, self.values = _load(path)
        self.kept = len(self.keys)

    def __call__(self, query_rows: np.ndarray, passage_rows: np.ndarray) -> np.ndarray:
        """Scores float32 (n,) of pairs of the block's queries."""
        pool = self.rescorer.pool
        wanted = (query_rows.astype(np.int64) - self.first) * len(pool.passages) + passage_rows
        if len(new := np.setdiff1d(wanted, self.keys)):
            queries, passages = self.first + new // len(pool.passages), new % len(pool.passages)
            scores = self.rescorer.cross_encoder.scores(
                [pool.queries[row] for row in queries], [pool.passages[row] for row in passages]
            )
            self.rescorer.scored += len(new)
            keys, values = np.concatenate([self.keys, new]), np.concatenate([self.values, scores])
            order = np.argsort(keys)
            self.keys, self.values = keys[order], values[order]
        return self.values[np.searchsorted(self.keys, wanted)]

    def keep(self) -> None:
        """Write the scores, if there are new ones."""
        if len(self.keys) > self.kept:
            data = io.BytesIO()
            np.savez_compressed(data, keys=self.keys, values=self.values)
            storage.write_bytes(str(self.path), data.getvalue())


def _load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as kept:
            return kept["keys"], kept["values"]
    except (OSError, ValueError, KeyError, BadZipFile):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
