"""Which passage each vector is of, where a passage may have several."""

from __future__ import annotations

import numpy as np

NO_PASSAGE = -1


class PassageRows:
    """Rows of vectors <-> rows of passages; the vectors of a passage stand one after the other.

    Args:
        passages: (v,) the passage of each vector, ascending from 0; every passage has a vector.

    Attributes:
        passages: likewise.
        first: (n,) row of the first vector of each passage.
        counts: (n,) how many vectors each passage has.
    """

    def __init__(self, passages: np.ndarray) -> None:
        self.passages = passages
        self.first = np.flatnonzero(np.diff(passages, prepend=-1))
        self.counts = np.diff(self.first, append=len(passages))

    def __len__(self) -> int:
        return len(self.first)

    def passages_of(self, vectors: np.ndarray) -> np.ndarray:
        """The passages of rows of vectors, of any shape; `NO_PASSAGE` stays."""
        return np.where(vectors < 0, NO_PASSAGE, self.passages[vectors])

    def vectors_of(self, passages: np.ndarray) -> np.ndarray:
        """Rows of all vectors of passages (m,), in their order."""
        counts = self.counts[passages]
        steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(self.first[passages], counts) + steps

    def sufficient(self, k: int) -> int:
        """The least number of vectors of which no choice has fewer than `k` passages, if there are so many."""
        most = np.sort(self.counts)[::-1][: max(0, k - 1)]
        return min(len(self.passages), int(most.sum()) + 1)

    def named(self, ids: list[str]) -> list[str]:
        """The passage's id for each vector."""
        return [ids[passage] for passage in self.passages.tolist()]
