"""Texts that are nearly the same: Jaccard similarity of their words and pairs of neighbouring words.

MinHash signatures (rensa) are cut into bands; texts that agree in a band are candidates (Leskovec, Rajaraman and
Ullman, Mining of Massive Datasets, 3.4), and the similarity of those that may be alike is computed from all items.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

import numpy as np
import polars as pl
from rensa import RMinHash  # type: ignore[attr-defined]
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sharpen.data.text import normalize

THRESHOLD = 0.8
# a pair of similarity s is a candidate with probability 1 - (1 - s^6)^21: 99.8 % at 0.8, 28 % at 0.5
BANDS, ROWS = 21, 6
# four standard errors of a similarity of 0.8 that is estimated from 126 numbers
_ERROR = 0.15
_SEED = 42
_CHUNK = 2_000
# in a band that many texts share, each is compared with so many that follow it
_NEIGHBOURS = 5
# a script without spaces is compared by its characters
_WORD = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]|\w+")
_ODD = np.uint64(0x9E3779B97F4A7C15)


def near_duplicates(texts: Sequence[str], threshold: float = THRESHOLD) -> pl.DataFrame:
    """Pairs of texts with a similarity of at least the threshold: first, second (rows, first < second), similarity.

    Words are those of the text after `data.text.normalize`. Of a cluster of texts that are all alike, each is paired
    with some of the others, so that the pairs connect it.
    """
    items = list(chain.from_iterable(_items(texts[at : at + _CHUNK]) for at in range(0, len(texts), _CHUNK)))
    found = []
    for first, second in _candidates(items, threshold) if items else ():
        shared = len(np.intersect1d(items[first], items[second], assume_unique=True))
        similarity = shared / max(1, len(items[first]) + len(items[second]) - shared)
        if similarity >= threshold:
            found.append((first, second, similarity))
    schema = {"first": pl.Int64, "second": pl.Int64, "similarity": pl.Float64}
    return pl.DataFrame(found, schema=schema, orient="row").sort("first", "second")


def clusters(pairs: pl.DataFrame, texts: int) -> np.ndarray:
    """The number of the cluster of each of so many texts: those that pairs connect."""
    edges = (np.ones(pairs.height, np.int8), (pairs["first"].to_numpy(), pairs["second"].to_numpy()))
    return connected_components(coo_array(edges, shape=(texts, texts)), directed=False)[1]


def _items(texts: Sequence[str]) -> list[np.ndarray]:
    """64-bit hashes of each text's words and pairs of neighbouring words, ascending, each once."""
    hashes = RMinHash.hash_token_sets([_WORD.findall(normalize(text)) for text in texts])
    words = (np.array(one, dtype=np.uint64) for one in hashes)
    # modulo 2^64; the order of the two words counts
    return [np.unique(np.concatenate([one, one[:-1] * _ODD + one[1:]])) for one in words]


def _candidates(items: Sequence[np.ndarray], threshold: float) -> list[tuple[int, int]]:
    """Pairs of rows that agree in a band, and of which the signatures do not say that they are below the threshold."""
    signatures = np.concatenate([_signatures(items[at : at + _CHUNK]) for at in range(0, len(items), _CHUNK)])
    # a random linear combination of a band's numbers, modulo 2^64
    weights = np.random.default_rng(_SEED).integers(1, 2**63, size=(BANDS, ROWS), dtype=np.uint64) * 2 + 1
    hashes = (signatures.reshape(-1, BANDS, ROWS) * weights).sum(axis=2, dtype=np.uint64)
    rows, bands = np.indices(hashes.shape)
    table = pl.DataFrame({"row": rows.ravel(), "band": bands.ravel(), "hash": hashes.ravel()})
    table = table.filter(pl.struct("band", "hash").is_duplicated()).sort("band", "hash", "row")
    pairs = []
    for step in range(1, _NEIGHBOURS + 1):
        later = table.select(pl.all().shift(-step).name.suffix("_later"))
        same = (pl.col("band") == pl.col("band_later")) & (pl.col("hash") == pl.col("hash_later"))
        pairs.append(pl.concat([table, later], how="horizontal").filter(same).select("row", "row_later"))
    unique = pl.concat(pairs).unique().sort("row", "row_later")
    estimates = [
        (signatures[first] == signatures[second]).mean(axis=1)
        for first, second in (part.to_numpy().T for part in unique.iter_slices(_CHUNK))
    ]
    return unique.filter(pl.Series(np.concatenate([[], *estimates]) >= threshold - _ERROR)).rows()


def _signatures(items: Sequence[np.ndarray]) -> np.ndarray:
    """The MinHash signatures (n, bands x rows) of sets of hashes."""
    matrix = RMinHash.digest_matrix_from_token_hash_sets([one.tolist() for one in items], BANDS * ROWS, _SEED)
    return np.array(matrix.to_rows(), dtype=np.uint32).reshape(len(items), BANDS * ROWS)
