"""Scores of a cross-encoder that are kept on this machine, by the texts of query and passage.

Files are only ever added, each with the pairs that one block of queries had to have scored, so that every number of
processes may write at once. A pair is found again whatever else was added to the data or taken from it.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from sharpen.data.dedup import KEY_TYPE
from sharpen.embeddings.pruning import prune
from sharpen.errors import SharpenError
from sharpen.store import local_store
from sharpen.store.download_cache import cache_folder

logger = logging.getLogger(__name__)

_DAMAGED = (OSError, ValueError, KeyError, BadZipFile, zlib.error)


class ScoreCache:
    """The stored scores of one cross-encoder; where nothing can be stored, that is logged once and ends no run.

    Its folder is ``vectors/scores-<identity>`` in the cache, among the embedding models' vectors: all together are kept
    below a size, and what was used longest ago goes first.

    Args:
        identity: of the cross-encoder, with all that its scores depend on besides the texts.
        gib: `EncoderSettings.vector_cache_gib`.
    """

    def __init__(self, identity: str, gib: float) -> None:
        self.folder: Path | None = None
        # key of a query's text -> files with pairs of it
        self._files: dict[bytes, list[Path]] = {}
        try:
            folder = cache_folder() / "vectors" / f"scores-{identity[:40]}"
            with local_store.translate_os_errors(folder):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.utime(folder)
                prune(folder.parent, int(gib * 2**30))
                for path in sorted(folder.glob("*.npz")):
                    for key in _read(path, "queries")[0].tolist():
                        self._files.setdefault(key, []).append(path)
            self.folder = folder
        except (OSError, SharpenError) as error:
            self._do_without(error)

    def find(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is stored of some queries.

        Args:
            queries: (q,) keys of their texts, ascending and distinct.

        Returns:
            For each stored pair, in no order: (n,) position of its query, (n,) key of its passage's text, and (n,) its
            score, float32. A pair that two processes scored at the same time is there twice.
        """
        positions, passages, scores = [np.empty(0, np.int64)], [np.empty(0, KEY_TYPE)], [np.empty(0, np.float32)]
        for path in dict.fromkeys(path for key in queries.tolist() for path in self._files.get(key, ())):
            of_queries, counts, of_passages, values = _read(path, "queries", "counts", "passages", "scores")
            if not counts.sum() == len(of_passages) == len(values):
                continue
            owners = np.repeat(of_queries, counts)
            wanted = np.isin(owners, queries)
            positions.append(np.searchsorted(queries, owners[wanted]))
            passages.append(of_passages[wanted])
            scores.append(values[wanted])
        return np.concatenate(positions), np.concatenate(passages), np.concatenate(scores)

    def add(self, queries: np.ndarray, passages: np.ndarray, scores: np.ndarray) -> None:
        """Store the scores (n,) of pairs by text keys (n,) of `queries` and `passages`; a query's are adjacent."""
        if self.folder is None or not len(scores):
            return
        starts = np.flatnonzero(np.r_[True, queries[1:] != queries[:-1]])
        data = io.BytesIO()
        np.savez_compressed(
            data,
            queries=queries[starts],
            counts=np.diff(np.r_[starts, len(queries)]),
            passages=passages,
            scores=scores.astype(np.float32),
        )
        content = data.getvalue()
        path = self.folder / f"{hashlib.sha256(content).hexdigest()[:40]}.npz"
        try:
            local_store.write(path, content)
        except (OSError, SharpenError) as error:
            self._do_without(error)
            return
        for key in queries[starts].tolist():
            self._files.setdefault(key, []).append(path)

    def _do_without(self, error: Exception) -> None:
        self.folder = None
        logger.warning(f"note: scores of the cross-encoder are not kept ({error})")


def _read(path: Path, *names: str) -> Sequence[np.ndarray]:
    """Arrays of a file; empty ones, and the file is removed, when it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return [stored[name] for name in names]
    except FileNotFoundError:
        pass  # another process removed it
    except _DAMAGED:
        logger.warning(f"note: {path}: cannot be read; the file is removed and its pairs are scored again")
        with suppress(OSError):
            path.unlink(missing_ok=True)
    empty = {"queries": KEY_TYPE, "counts": np.int64, "passages": KEY_TYPE, "scores": np.float32}
    return [np.empty(0, empty[name]) for name in names]
