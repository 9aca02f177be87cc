"""Pairs of simulated models on one test set: ranks of the right passage, with ties and with groups.

A query's rank grows with its difficulty and falls with the model's skill, of which a part belongs to the whole group:
a model that is good at one question about a document is good at the others too. A share of the queries is easy for
every model, so that both have rank 1 and the metrics tie.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# 411 queries of 29 files, as the standard library's docstrings are split; eight files hold two thirds of them
FILES = np.array([80, 52, 41, 33, 26, 22, 19, 17, 15, 13, 12, 11, 10, 9, 8, 7, 6, 5, 5, 4, 4, 3, 2, 2, 1, 1, 1, 1, 1])
TWELVE = np.array([14, 9, 6, 5, 4, 3, 3, 2, 1, 1, 1, 1])
TWENTY = np.array([22, 15, 11, 9, 7, 6, 5, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1])


@dataclass(frozen=True)
class World:
    """A test set and how models differ on it.

    Attributes:
        sizes: queries of each group.
        easy: share of queries on which no two models differ.
        within: share of the variance of a model's skill that belongs to its groups (intra-group correlation).
        gain: how much better the candidate is, in units of skill; 0 for equal models.
    """

    sizes: np.ndarray
    easy: float
    within: float = 0.0
    gain: float = 0.0

    def ranks(self, trials: int, draw: np.random.Generator) -> list[np.ndarray]:
        """Rank of the right passage with the reference and with the candidate, (queries, trials) each."""
        queries, groups = int(self.sizes.sum()), np.repeat(np.arange(len(self.sizes)), self.sizes)
        difficulty = draw.normal(0.8, 1.5, (queries, trials))
        easy = draw.random((queries, trials)) < self.easy
        ranks = []
        for gain in (0.0, self.gain):
            shared = draw.normal(0, np.sqrt(self.within), (len(self.sizes), trials))[groups]
            skill = shared + draw.normal(0, np.sqrt(1 - self.within), (queries, trials)) + gain
            ranks.append(np.where(easy, 1.0, np.maximum(1.0, np.ceil(np.exp(difficulty - skill)))))
        return ranks


METRICS = {
    "ndcg_at_10": lambda rank: np.where(rank <= 10, 1 / np.log2(rank + 1), 0.0),
    "mrr_at_10": lambda rank: np.where(rank <= 10, 1 / rank, 0.0),
    "recall_at_100": lambda rank: (rank <= 100).astype(float),
}
"""Each metric of queries with one right passage at these ranks."""
