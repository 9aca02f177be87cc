"""Shards that machines share through an object store: ``<address>/<identity>/<name>.keys.npy`` and ``.vectors.npy``.

The local folder holds what was made or needed here. The keys of other shards are read into memory, their vectors only
when they are wanted. In the store as on the disk a shard is complete when its keys are there, since they go last.
"""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sharpen.embeddings.cache_metadata import DESCRIPTION, check_description, described
from sharpen.embeddings.shards import KEYS, VECTORS, ShardFolder, ShardIndex, name_of, right_keys
from sharpen.errors import SharpenError
from sharpen.retry import at_most
from sharpen.store import local_store, object_store
from sharpen.uri import NotFound, PreconditionFailed, parse_remote

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Computing anew what the store has is better than a longer wait.
STORE_SECONDS = 60.0


class RemoteShards(ShardFolder):
    """A folder of shards and what others put into a store; a store that fails half-way is done without.

    Args:
        folder: the local folder.
        facts: what the vectors depend on.
        dimension: length d of a vector.
        address: folder of this encoder in the store.

    Raises:
        InputError: the store cannot be used, or holds vectors of another length.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], dimension: int, address: str) -> None:
        super().__init__(folder, facts, dimension)
        self.remote = parse_remote(address)
        self.lost = False
        object_store.probe(self.remote, write=True)
        description = self.remote.below(DESCRIPTION)
        try:
            check_description(object_store.read(description)[0], address, dimension)
        except NotFound:
            self._with_store(lambda: self._describe(described(facts, dimension)), None)
        self.stored = {
            file.name.removesuffix(KEYS) for file in object_store.files(self.remote) if file.name.endswith(KEYS)
        }

    def _describe(self, text: bytes) -> None:
        try:
            object_store.write(self.remote.below(DESCRIPTION), text, if_absent=True)
        except PreconditionFailed:
            return  # another machine was first

    def names(self) -> list[str]:
        return sorted({*super().names(), *self.stored})

    def lookup(self, wanted: np.ndarray) -> ShardIndex:
        """As `ShardFolder.find`; what is used and was made while the store was not in reach is put there now."""
        index = super().lookup(wanted)
        for number in np.unique(index.shard[index.shard >= 0]).tolist():
            self._publish(index.names[number])
        return index

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> str:
        name = super().add(keys, vectors)
        self._publish(name)
        return name

    def keys(self, name: str) -> np.ndarray | None:
        if self.keys_path(name).exists() and (found := super().keys(name)) is not None:
            return found
        if name not in self.stored:
            return None
        data = self._with_store(lambda: object_store.read(self.remote.below(name + KEYS))[0], None)
        if data is not None and right_keys(name, hashlib.sha256(data).hexdigest()):
            return np.load(io.BytesIO(data), allow_pickle=False)
        self._forget(name, damaged=data is not None)
        return None

    def is_sound(self, name: str) -> bool:
        if self.keys_path(name).exists() and super().is_sound(name):
            return True
        if name not in self.stored:
            return False
        fetched = self._with_store(lambda: self._fetch(name), None)
        if not fetched:
            self._forget(name, damaged=fetched is False)
        return bool(fetched)

    def _forget(self, name: str, *, damaged: bool) -> None:
        """Do without a shard of the store, and remove it from there if it is damaged."""
        self.stored.discard(name)
        if damaged:
            logger.warning(f"note: {self.remote.uri}/{name}: damaged or cut off; the shard is removed and made again")
            keys = [self.remote.prefix + name + suffix for suffix in (KEYS, VECTORS)]
            self._with_store(lambda: object_store.delete_keys(self.remote, keys), None)

    def _fetch(self, name: str) -> bool:
        """Bring a shard here; False: it is not what its name says."""
        fresh = local_store.temp_sibling(self.folder / "shard")
        with local_store.translate_os_errors(self.folder):
            self._note_use()
            fresh.mkdir(mode=0o700)
            try:
                for suffix in (KEYS, VECTORS):
                    object_store.download(self.remote.below(name + suffix), fresh / suffix)
                if name_of(fresh / KEYS, fresh / VECTORS) != name:
                    return False
                self.put(name, fresh / KEYS, fresh / VECTORS)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        return True

    def _publish(self, name: str) -> None:
        keys = self.remote.below(name + KEYS)

        def upload() -> None:
            for suffix, path in ((VECTORS, self.vectors_path(name)), (KEYS, self.keys_path(name))):
                object_store.upload(self.remote.below(name + suffix), path)
            self.stored.add(name)

        if name not in self.stored:
            # another process of this machine may have put it there since this one looked
            self._with_store(lambda: upload() if object_store.head(keys) is None else self.stored.add(name), None)

    def _with_store(self, work: Callable[[], T], otherwise: T) -> T:
        """What `work` returns; `otherwise` when the store has failed, which is logged once and ends no run."""
        if self.lost:
            return otherwise
        try:
            with at_most(STORE_SECONDS):
                return work()
        except NotFound:
            return otherwise  # another machine removed it
        except SharpenError as error:
            self.lost, self.stored = True, set()
            logger.warning(f"note: the vector cache is used on this machine only from here on ({error})")
            return otherwise
