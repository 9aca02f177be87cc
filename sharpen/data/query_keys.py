"""Files of queries that a model was trained on or measured with: sorted 64-bit keys of their normalised texts.

Promotion reads and joins such files in an image without numpy and polars.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping

from sharpen import typed_json
from sharpen.errors import InputError
from sharpen.store import storage

TRAINED, MEASURED = "trained_queries.u64", "measured_queries.u64"
"""Files of an evaluation folder: keys of the data set's training queries, and of the queries that were measured."""

_UNSIGNED_64_BITS = "Q"


def id_key(query_id: str) -> int:
    """A 64-bit number for an id: a query of the user's is known by it, too, when its text has changed."""
    return int.from_bytes(hashlib.blake2b(f"id\n{query_id}".encode(), digest_size=8).digest(), "big")


def with_ids(text_keys: Iterable[int], query_ids: Iterable[str]) -> Iterator[int]:
    """The keys of queries, and the `id_key` of each whose id is not made of its text (`data.text.key_id`)."""
    for key, query_id in zip(text_keys, query_ids, strict=True):
        yield key
        if query_id != f"{key:016x}":
            yield id_key(query_id)


def union_as_bytes(*files: Iterable[int]) -> bytes:
    """The keys of several files, each as `read` gives it, as one file; without a set of what may be millions."""
    joined, last = array(_UNSIGNED_64_BITS), -1
    for key in heapq.merge(*files):
        if key != last:
            joined.append(key)
        last = key
    return _little_endian(joined).tobytes()


def held_out_as_bytes(keys: Mapping[str, Iterable[int]]) -> bytes:
    """Keys of held-out queries by split as a file: a JSON object of sorted lists."""
    found = {split: sorted(set(values)) for split, values in sorted(keys.items())}
    return (json.dumps(found) + "\n").encode()


def read_held_out(address: str) -> dict[str, list[int]]:
    """Split -> keys in a file of `held_out_as_bytes`; none for an empty address.

    Raises:
        InputError: NotFound, or a damaged file.
    """
    if not address:
        return {}
    return typed_json.parse(dict[str, list[int]], storage.read_bytes(address), address, remedy="delete it")


def as_bytes(keys: Iterable[int]) -> bytes:
    """Keys (`data.text.text_key`) as a file: 8 bytes each, little-endian, ascending, without repeats."""
    return _little_endian(array(_UNSIGNED_64_BITS, sorted(set(keys)))).tobytes()


def read(address: str) -> array[int]:
    """The keys in a file of `as_bytes`; none for an empty address. Raises InputError: NotFound, or a damaged file."""
    keys = array(_UNSIGNED_64_BITS)
    if address:
        try:
            keys.frombytes(storage.read_bytes(address))
        except ValueError:
            raise InputError(f"{address}: damaged: not a whole number of keys of 8 bytes") from None
    return _little_endian(keys)


def _little_endian(keys: array[int]) -> array[int]:
    """From this machine's order of bytes to the file's, and back."""
    if sys.byteorder == "big":
        keys.byteswap()
    return keys
