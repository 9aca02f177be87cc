"""How often each query comes in an epoch when sources are mixed by temperature, and batches without a query twice.

A source with n queries has the weight n ** (1 / T), as languages have in multilingual pre-training (Conneau et al.
2020, arXiv 1911.02116; Xue et al. 2021, arXiv 2010.11934), times the weight that the user gives it. An epoch has as
many queries as the data.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def source_quota(
    counts: np.ndarray, temperature: float, repeats: int | None, weights: Sequence[float] | None = None
) -> np.ndarray:
    """How many queries of each source an epoch has.

    Args:
        counts: (S) queries of each source, at least one.
        temperature: T; 1 gives the counts back.
        repeats: how often a query may come at most; what a source cannot take goes to the others. None: any number.
        weights: (S) factors of the sources' shares; None: 1 each.

    Returns:
        (S) numbers of at least 1 whose sum is that of the counts.
    """
    most = np.full(len(counts), np.inf) if repeats is None else counts * float(max(1, repeats))
    shares = counts.astype(np.float64) ** (1.0 / temperature) * (1.0 if weights is None else np.array(weights))
    exact = np.zeros(len(counts))
    free = np.ones(len(counts), dtype=bool)
    while True:
        exact[free] = (counts.sum() - exact[~free].sum()) * shares[free] / shares[free].sum()
        over, under = free & (exact > most), free & (exact < 1 - 1e-9)
        if over.any():
            exact[over] = most[over]
            free &= ~over
        elif under.any():
            exact[under] = 1
            free &= ~under
        else:
            break
        if not free.any():
            break
    # Rounding by largest remainder; the tolerance keeps a whole number whole.
    whole = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(-np.where(whole < most, exact - whole, -np.inf), kind="stable")
    whole[order[: max(0, counts.sum() - whole.sum())]] += 1
    while whole.sum() > counts.sum():
        whole[whole.argmax()] -= 1
    return whole


def epoch_queries(rows: np.ndarray, share: int, epoch: int, seed: list[int]) -> np.ndarray:
    """The queries of one source in an epoch, sorted; `share` in all.

    Every query comes ``share // n`` times. Those that come once more are the next ones of a fixed random circle, so
    that over the epochs each comes equally often, and a source of which an epoch has only a part is seen whole in time.

    Args:
        rows: (n) queries of the source.
        share: how many an epoch has.
        epoch: number of the epoch.
        seed: of the circle.
    """
    times, rest = divmod(share, len(rows))
    more = (epoch * rest + np.arange(rest)) % len(rows)
    circle = np.random.default_rng(seed).permutation(rows)
    return np.sort(np.concatenate([np.repeat(rows, times), circle[more]]))


def cut(order: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Cut an epoch's queries into batches of at most `size`, none with a query twice and all equal to within one row.

    A smaller last batch would weigh each of its queries more and show it fewer in-batch negatives. There are as many
    batches as `size` asks for, or as the most frequent query has occurrences. Where a query comes several times, all
    its occurrences stand together and are dealt out like cards, one to a batch, and the batches are put into random
    order.

    Args:
        order: queries in random order.
        size: queries of a batch.
        rng: for the order of the batches.
    """
    _, first, inverse, times = np.unique(order, return_index=True, return_inverse=True, return_counts=True)
    number = max(-(-len(order) // size), int(times.max()))
    if times.max() == 1:
        return np.array_split(order, number)
    dealt = order[np.argsort(first[inverse], kind="stable")]
    return [dealt[start::number] for start in rng.permutation(number)]
