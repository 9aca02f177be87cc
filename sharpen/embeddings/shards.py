"""Vectors of one encoder in a folder: shards that are complete or not there, and tell when they are damaged.

A shard is two NumPy files, ``<name>.vectors.npy`` (n, d, float32) and ``<name>.keys.npy`` (n, 16 bytes). The name
is made of both files' SHA-256. The keys are put there last, so a shard whose keys are there is complete; two processes
that write the same shard write the same files under the same names. A folder of shards has no manifest, as other
folders have (`store.manifest`): many processes add to it at once, and none of them knows when it is finished.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sharpen.data.dedup import KEY_TYPE
from sharpen.embeddings.cache_metadata import DESCRIPTION, check_description, described
from sharpen.store import local_store

logger = logging.getLogger(__name__)

KEYS = ".keys.npy"
VECTORS = ".vectors.npy"
_KEYS_DIGITS, _VECTORS_DIGITS = 16, 32
# A file without its keys, or under a temporary name, that is older than this was left by a process that was killed.
ABANDONED_SECONDS = 24 * 3600


@dataclass(frozen=True)
class ShardIndex:
    """Where vectors are kept.

    Attributes:
        names: names of the shards.
        shard: (n,) which shard each vector is in; -1: it is in none.
        row: (n,) its row there.
    """

    names: list[str]
    shard: np.ndarray
    row: np.ndarray


class ShardFolder:
    """The shards of one encoder and kind of text; opening them, and each shard that comes, notes that they are in use.

    Args:
        folder: where they are; made if need be.
        facts: what the vectors depend on, which is written there for people.
        dimension: length d of a vector.

    Raises:
        InputError: nothing may be written there, or vectors of another length are kept there.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], dimension: int) -> None:
        self.folder, self.dimension = folder, dimension
        self._sound: set[str] = set()
        self._described = described(facts, dimension)
        with local_store.translate_os_errors(folder):
            self._note_use()
            check_description((folder / DESCRIPTION).read_bytes(), str(folder), dimension)

    def _note_use(self) -> None:
        """Tell other runs that the folder is in use, and make it anew if one of them, or a person, removed it."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        description = self.folder / DESCRIPTION
        try:
            os.utime(description)
        except FileNotFoundError:
            local_store.write(description, self._described)

    def names(self) -> list[str]:
        """The complete shards, sorted."""
        return sorted(path.name.removesuffix(KEYS) for path in self.folder.glob(f"*{KEYS}"))

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> str:
        """Keep vectors (n, d) under their keys (n,), and return the shard's name.

        Raises:
            InputError: the disk is full, or nothing may be written here.
        """
        with local_store.translate_os_errors(self.folder):
            self._note_use()
            fresh = local_store.temp_sibling(self.folder / "shard")
            fresh.mkdir(mode=0o700)
            try:
                np.save(fresh / "vectors.npy", np.ascontiguousarray(vectors, dtype=np.float32), allow_pickle=False)
                np.save(fresh / "keys.npy", keys.astype(KEY_TYPE), allow_pickle=False)
                name = name_of(fresh / "keys.npy", fresh / "vectors.npy")
                self.put(name, fresh / "keys.npy", fresh / "vectors.npy")
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        return name

    def put(self, name: str, keys: Path, vectors: Path) -> None:
        """Make two whole files of the same disk, `keys` and `vectors`, the shard `name`."""
        vectors.replace(self.vectors_path(name))
        keys.replace(self.keys_path(name))
        self._sound.add(name)

    def lookup(self, wanted: np.ndarray) -> ShardIndex:
        """Where the vectors of these keys are. Shards that turn out to be damaged are removed, with a note."""
        names = self.names()
        while True:
            held = {name: keys for name in names if (keys := self.keys(name)) is not None}
            names = list(held)
            index = find_keys(wanted, names, list(held.values()))
            needed = {names[shard] for shard in np.unique(index.shard) if shard >= 0}
            damaged = {name for name in needed if not self.is_sound(name)}
            if not damaged:
                return index
            names = [name for name in names if name not in damaged]

    def keys(self, name: str) -> np.ndarray | None:
        """Keys (n,) of a shard; None, and the shard is removed, when they are damaged."""
        path = self.keys_path(name)
        try:
            if right_keys(name, local_store.sha256_of(path)):
                return np.load(path, allow_pickle=False)
        except FileNotFoundError:
            return None  # another process removed it
        self.discard(name, "its keys are damaged")
        return None

    def is_sound(self, name: str) -> bool:
        """Whether the vectors are as they were written; if not, the shard is removed. Each shard is read once."""
        if name not in self._sound:
            path = self.vectors_path(name)
            try:
                if local_store.sha256_of(path)[:_VECTORS_DIGITS] != name.partition("-")[2]:
                    self.discard(name, "its vectors are damaged or cut off")
                    return False
            except FileNotFoundError:
                self.discard(name, "its vectors are not there")
                return False
            self._sound.add(name)
        return True

    def vectors(self, name: str) -> np.ndarray:
        """Vectors (n, d) of a shard that is sound, memory-mapped."""
        return np.load(self.vectors_path(name), mmap_mode="r", allow_pickle=False)

    def discard(self, name: str, reason: str) -> None:
        """Remove a shard from this folder, so that it is made again."""
        logger.warning(f"note: {self.vectors_path(name)}: {reason}; the shard is removed and made again")
        self._sound.discard(name)
        self.keys_path(name).unlink(missing_ok=True)
        self.vectors_path(name).unlink(missing_ok=True)

    def collect_garbage(self) -> None:
        """Remove what killed processes left behind."""
        complete = set(self.names())
        for path in self.folder.iterdir():
            half = path.name.endswith(VECTORS) and path.name.removesuffix(VECTORS) not in complete
            if (half or local_store.is_internal_file(path.name)) and _age(path) > ABANDONED_SECONDS:
                local_store.delete(path)

    def keys_path(self, name: str) -> Path:
        """The file with a shard's keys."""
        return self.folder / f"{name}{KEYS}"

    def vectors_path(self, name: str) -> Path:
        """The file with a shard's vectors."""
        return self.folder / f"{name}{VECTORS}"


def right_keys(name: str, sha256: str) -> bool:
    """Whether keys with this SHA-256 are those of the shard."""
    return name.partition("-")[0] == sha256[:_KEYS_DIGITS]


def name_of(keys: Path, vectors: Path) -> str:
    """The name of the shard that these two files make."""
    return f"{local_store.sha256_of(keys)[:_KEYS_DIGITS]}-{local_store.sha256_of(vectors)[:_VECTORS_DIGITS]}"


def find_keys(wanted: np.ndarray, names: list[str], held: Sequence[np.ndarray]) -> ShardIndex:
    """Where the wanted keys (n,) stand among those that the shards of these `names` hold (`held`: (m,) of each)."""
    known = np.concatenate([np.empty(0, KEY_TYPE), *held])
    shard_of = np.repeat(np.arange(len(held)), [len(keys) for keys in held])
    row_of = np.concatenate([np.empty(0, np.int64), *(np.arange(len(keys)) for keys in held)])
    shard, row = np.full(len(wanted), -1), np.full(len(wanted), -1)
    if len(known):
        order = np.argsort(known, kind="stable")
        position = order[np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)]
        found = known[position] == wanted
        shard[found], row[found] = shard_of[position[found]], row_of[position[found]]
    return ShardIndex(names, shard, row)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
