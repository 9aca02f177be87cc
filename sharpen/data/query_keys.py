"""Files of queries that a model was trained on or measured with: sorted 64-bit keys of their normalised texts.

Promotion reads and joins such files in an image without numpy and polars.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable

from sharpen.errors import InputError
from sharpen.store import storage

TRAINED, MEASURED = "trained_queries.u64", "measured_queries.u64"
"""Files of an evaluation folder: keys of the data set's training queries, and of the queries that were measured."""

_UNSIGNED_64_BITS = "Q"


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
