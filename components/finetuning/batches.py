"""Global batches: which queries with which groups of texts make up step n.

A batch is a pure function of (data, settings, step). It does not depend on the number of processes, and a resumed run
continues with the very batch that the broken one would have had next.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from components.finetuning.examples import Examples
from components.finetuning.settings import TrainingSettings


@dataclass(frozen=True)
class Batch:
    """One optimiser step's examples, for all processes together.

    Attributes:
        step: number of the step, from 0.
        queries: (N) rows of `Examples.queries`, no row twice.
        groups: (N, G) texts of each query: its positive, then negatives, no text twice in a row.
        shuffled: texts whose words are given in another order in this batch (`shuffle_ratio`).
        made_up: negatives drawn from the corpus because a query had too few hard ones.
    """

    step: int
    queries: np.ndarray
    groups: np.ndarray
    shuffled: frozenset[int]
    made_up: int


class Batches:
    """All batches of a training, made when asked for.

    Each epoch takes every query once, in an order drawn from (seed, epoch). The last batch of an epoch, or of each
    source with `same_dataset_within_batch`, may be smaller; no query is left out.
    """

    def __init__(self, examples: Examples, settings: TrainingSettings) -> None:
        self.examples, self.settings = examples, settings
        self.per_epoch = len(self._epoch(0))
        self._epoch_cached = lru_cache(maxsize=2)(self._epoch)

    def notes(self) -> list[str]:
        """What a user should know about the batches, one line each."""
        size = self.settings.train_batch_size
        if not self.settings.same_dataset_within_batch:
            return []
        rows = np.bincount(self.examples.source, minlength=len(self.examples.sources))
        return [
            f"source {name}: {count} queries, fewer than a batch of {size}; it is trained in one smaller batch an epoch"
            for name, count in zip(self.examples.sources, rows.tolist(), strict=True)
            if count < size
        ]

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        epoch, place = divmod(step, self.per_epoch)
        queries = self._epoch_cached(epoch)[place]
        draw = np.random.default_rng([self.settings.seed, epoch, 1, place])
        groups = np.empty((len(queries), self.settings.train_group_size), dtype=np.int64)
        made_up = 0
        for row, query in enumerate(queries):
            groups[row], random = self._group(int(query), draw)
            made_up += random
        chosen = draw.random(len(queries)) < self.settings.shuffle_ratio
        return Batch(step, queries, groups, frozenset(groups[chosen, 0].tolist()), made_up)

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        draw = np.random.default_rng([self.settings.seed, epoch, 0])
        size = self.settings.train_batch_size
        order = draw.permutation(len(self.examples))
        if not self.settings.same_dataset_within_batch:
            return [order[start : start + size] for start in range(0, len(order), size)]
        cut = []
        for source in range(len(self.examples.sources)):
            rows = order[self.examples.source[order] == source]
            cut += [rows[start : start + size] for start in range(0, len(rows), size)]
        return [cut[place] for place in draw.permutation(len(cut))]

    def _group(self, query: int, draw: np.random.Generator) -> tuple[np.ndarray, int]:
        """A positive and negatives without repeats; also how many negatives came from the corpus at random."""
        wanted = self.settings.train_group_size - 1
        positive = draw.choice(self.examples.positives[query])
        hard = self.examples.negatives[query]
        chosen = draw.permutation(hard)[:wanted].tolist()
        missing = wanted - len(chosen)
        if missing:
            barred = {*self.examples.known[query].tolist(), *chosen}
            chosen += self._at_random(missing, barred, draw)
        return np.array([positive, *chosen], dtype=np.int64), missing

    def _at_random(self, wanted: int, barred: set[int], draw: np.random.Generator) -> list[int]:
        texts = len(self.examples.texts)
        found: list[int] = []
        # Drawing again beats listing the corpus, except where most of the corpus is barred.
        if 2 * (len(barred) + wanted) > texts:
            free = np.setdiff1d(np.arange(texts), np.fromiter(barred, dtype=np.int64, count=len(barred)))
            return draw.permutation(free)[:wanted].tolist()
        while len(found) < wanted:
            text = int(draw.integers(texts))
            if text not in barred:
                barred.add(text)
                found.append(text)
        return found


def shuffled_words(text: str, seed: int) -> str:
    """The text cut into three parts at spaces, in another order; short texts (at most 100 characters) stay as they are.

    FlagEmbedding's `shuffle_ratio` (BGE-M3) cuts by characters, in the middle of words.
    """
    words = text.split(" ")
    if len(text) <= 100 or len(words) < 3:
        return text
    draw = np.random.default_rng(seed)
    third = -(-len(words) // 3)
    parts = [words[start : start + third] for start in range(0, len(words), third)]
    return " ".join(" ".join(parts[place]) for place in draw.permutation(len(parts)))
