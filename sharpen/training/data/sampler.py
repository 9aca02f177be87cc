"""Global batches: which queries with which groups of texts make up step n.

A batch is a pure function of (data, settings, step). It does not depend on the number of processes, and a resumed run
continues with the very batch that the broken one would have had next.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sharpen.training.data.examples import Examples, TrainingTask
from sharpen.training.data.mixing import cut, epoch_queries, source_quota
from sharpen.training.data.task_texts import TaskTexts, distinct_texts
from sharpen.training.settings import TrainingSettings


@dataclass(frozen=True)
class Batch:
    """One optimiser step's examples, for all processes together.

    Attributes:
        step: number of the step, from 0.
        queries: (N) rows of `Examples.queries`, no row twice.
        groups: (N, G) texts of each query: its positive, then negatives, no two of a row the same text.
        shuffled: texts whose words are given in another order in this batch (`shuffle_ratio`).
        made_up: negatives drawn from the corpus because a query had too few hard ones.
        task: what all its queries are learned from, as an index in `Examples.tasks`.
    """

    step: int
    queries: np.ndarray
    groups: np.ndarray
    shuffled: frozenset[int]
    made_up: int
    task: int = 0


class BatchSampler:
    """All batches of a training, made when needed.

    With `source_temperature` 1 and no weights each epoch takes every query once, in an order drawn from (seed, epoch).
    The batches of an epoch, or of each source with `same_dataset_within_batch`, are equal to within one row. With a
    higher temperature the sources' shares of an epoch are nearer to each other (`mixing`). No batch has a query twice,
    and no source is left out. A batch has queries of one task (`Examples.tasks`), since each task has a loss of its
    own.

    Attributes:
        per_epoch: batches of an epoch.
        source_rows: for each source, its queries.
        source_shares: for each source, how many queries of it an epoch has.
    """

    def __init__(self, examples: Examples, settings: TrainingSettings) -> None:
        self.examples, self.settings = examples, settings
        self.source_rows = [np.flatnonzero(examples.source == number) for number in range(len(examples.sources))]
        counts = np.array([len(rows) for rows in self.source_rows])
        weights = [settings.source_weights.get(name, 1.0) for name in examples.sources]
        self._requested = source_quota(counts, settings.source_temperature, None, weights)
        # Batches of its own may be as many as a source needs; in mixed ones a query has one place in each.
        repeats = None if settings.same_dataset_within_batch else -(-len(examples) // settings.train_batch_size)
        self.source_shares = source_quota(counts, settings.source_temperature, repeats, weights)
        self._batch_kind = examples.task
        if settings.same_dataset_within_batch:
            self._batch_kind = examples.source * len(examples.tasks) + examples.task
        self._texts = [TaskTexts(examples, number) for number in range(len(examples.tasks))]
        self.per_epoch = len(self._epoch(0))
        self._epoch_cached = lru_cache(maxsize=2)(self._epoch)

    def warnings(self) -> list[str]:
        """What is not as a user may expect, one line each, naming the source."""
        lines = [line for number in range(len(self.source_rows)) for line in self._warnings_of(number)]
        hard = self.examples.counts.get("hard_negatives", 0)
        if self.settings.train_group_size == 1 and hard:
            lines.append(f"train_group_size 1: the {hard:,} hard negatives are not used; raise it to train with them")
        if sharing := self._sharing():
            lines.append(
                f"mask_false_negatives false: {sharing:,} queries share their text or a positive with another one; in "
                "one batch their positives are negatives of each other; set mask_false_negatives to true"
            )
        return lines

    def _sharing(self) -> int:
        """How many queries share their text or a positive with another one, where nothing of that is masked."""
        examples, settings = self.examples, self.settings
        if settings.mask_false_negatives or not settings.use_inbatch_neg:
            return 0
        alone = [examples.sources.index(name) for name in settings.no_inbatch_sources]
        rows = np.flatnonzero(~np.isin(examples.source, alone)).tolist()
        keys = [{int(examples.query_key[row]), *examples.text_key[examples.positives[row]].tolist()} for row in rows]
        times = Counter(key for one in keys for key in one)
        return sum(any(times[key] > 1 for key in one) for one in keys)

    def _warnings_of(self, number: int) -> list[str]:
        name = self.examples.sources[number] or "(unnamed)"
        rows, size = len(self.source_rows[number]), self.settings.train_batch_size
        share, requested = int(self.source_shares[number]), int(self._requested[number])
        lines = []
        if self.settings.same_dataset_within_batch and rows < size:
            lines.append(
                f"source {name}: {rows:,} queries, fewer than a batch of {size:,}; it is trained in "
                f"{-(-share // rows):,} smaller batch(es) an epoch, with fewer in-batch negatives and more weight for "
                "each query; lower train_batch_size, join it with another source, or set same_dataset_within_batch to "
                "false"
            )
        if share < requested and share == rows * self.per_epoch:
            lines.append(
                f"source {name}: {self._mixed_by(name)} asks for {requested:,} of its {rows:,} queries an epoch, but "
                f"{share:,} are all that fit, since no batch has a query twice; lower {self._mixed_by(name)} or "
                "train_batch_size"
            )
        if "no_in_batch_neg" in name and name not in self.settings.no_inbatch_sources:
            lines.append(
                f"source {name}: a name that turns in-batch negatives off in FlagEmbedding, not here; "
                "set no_inbatch_sources if that is wanted"
            )
        return lines

    def _mixed_by(self, name: str) -> str:
        """The setting by which a source comes more often than its size says."""
        return "its weight" if self.settings.source_weights.get(name, 1.0) > 1 else "source_temperature"

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        epoch, position = divmod(step, self.per_epoch)
        queries = self._epoch_cached(epoch)[position]
        rng = np.random.default_rng([self.settings.seed, epoch, 1, position])
        number = int(self.examples.task[queries[0]])
        task = self.examples.tasks[number]
        size = self._group_size(queries, task)
        groups = np.empty((len(queries), size), dtype=np.int64)
        made_up = 0
        for row, query in enumerate(queries):
            groups[row], random = self._group(int(query), task, size - 1, rng)
            made_up += random
        chosen = rng.random(len(queries)) < (0.0 if task.symmetric else self.settings.shuffle_ratio)
        return Batch(step, queries, groups, frozenset(groups[chosen, 0].tolist()), made_up, number)

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self.settings.seed, epoch, 0])
        size = self.settings.train_batch_size
        order = rng.permutation(self._queries(epoch))
        kinds = self._batch_kind[order]
        if not self.settings.same_dataset_within_batch and (kinds == kinds[0]).all():
            return cut(order, size, rng)
        made = []
        for kind in np.unique(kinds):
            made += cut(order[kinds == kind], size, rng)
        return [made[position] for position in rng.permutation(len(made))]

    def _queries(self, epoch: int) -> np.ndarray:
        """The queries of an epoch, sorted, each as often as it comes."""
        seed = self.settings.seed
        return np.sort(
            np.concatenate(
                [
                    epoch_queries(rows, int(share), epoch, [seed, 2, number])
                    for number, (rows, share) in enumerate(zip(self.source_rows, self.source_shares, strict=True))
                ]
            )
        )

    def _group_size(self, queries: np.ndarray, task: TrainingTask) -> int:
        """Texts of each query of a batch.

        Where another row's passage may mean the same, only negatives that the row brings are none of its positives: as
        many are taken as every row of the batch has.
        """
        if task.learns == "similarity":
            return 1
        if task.in_batch:
            return self.settings.train_group_size
        negatives = (self.examples.text_key[self.examples.negatives[query]] for query in queries.tolist())
        return min(self.settings.train_group_size, 1 + min(len(np.unique(keys)) for keys in negatives))

    def _group(self, query: int, task: TrainingTask, wanted: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """A positive and negatives, no two of them the same text; also how many negatives are random passages.

        A positive is drawn in proportion to its grade, the gain that nDCG gives it. Of labelled texts both are drawn
        by their labels; a pair with a label of similarity is a group of one.
        """
        examples = self.examples
        if task.learns == "labels":
            return self._texts[int(examples.task[query])].group(query, wanted, rng), 0
        if task.learns == "similarity":
            return examples.positives[query], 0
        grades = examples.grades[query]
        share = None if (grades == grades[0]).all() else grades / grades.sum()
        positive = rng.choice(examples.positives[query], p=share)
        chosen = distinct_texts(examples, rng.permutation(np.array(examples.negatives[query])), set(), wanted)
        missing = wanted - len(chosen)
        if missing:
            barred = [*examples.never_negatives[query].tolist(), *chosen]
            chosen += self._texts[int(examples.task[query])].at_random(missing, barred, rng)
        return np.array([positive, *chosen], dtype=np.int64), missing


def shuffled_words(text: str, seed: int) -> str:
    """The text cut into three parts at spaces, in another order; short texts (at most 100 characters) stay as they are.

    FlagEmbedding's `shuffle_ratio` (BGE-M3) cuts by characters, in the middle of words.
    """
    words = text.split(" ")
    if len(text) <= 100 or len(words) < 3:
        return text
    rng = np.random.default_rng(seed)
    third = -(-len(words) // 3)
    parts = [words[start : start + third] for start in range(0, len(words), third)]
    return " ".join(" ".join(parts[position]) for position in rng.permutation(len(parts)))
