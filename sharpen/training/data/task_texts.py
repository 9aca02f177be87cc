"""Texts of a task drawn at random: negatives from its passages, and positives and negatives by labels."""

from __future__ import annotations

import numpy as np

from sharpen.training.data.examples import Examples

# So often a text is drawn before those that may be drawn are listed.
_TRIES = 8


def distinct_texts(examples: Examples, texts: np.ndarray, barred: set[int], wanted: int) -> list[int]:
    """The first texts whose keys are new, at most `wanted`; their keys are added to `barred`.

    Args:
        examples: have the keys.
        texts: (n) numbers of texts.
        barred: keys that are not new.
        wanted: how many.
    """
    selected: list[int] = []
    for text in texts.tolist():
        if len(selected) == wanted:
            break
        if (key := int(examples.text_key[text])) not in barred:
            barred.add(key)
            selected.append(text)
    return selected


class TaskTexts:
    """The texts of a task.

    Args:
        examples: all of them.
        number: of the task in `Examples.tasks`.
    """

    def __init__(self, examples: Examples, number: int) -> None:
        self.examples, task = examples, examples.tasks[number]
        self.first, self.count = task.first_text, task.end_text - task.first_text
        self._of_label: dict[int, np.ndarray] = {}
        if task.learns == "labels":
            members: dict[int, list[int]] = {}
            for text in range(task.first_text, task.end_text):
                for label in examples.text_labels[text].tolist():
                    members.setdefault(label, []).append(text)
            self._of_label = {label: np.array(texts) for label, texts in members.items()}

    def at_random(self, wanted: int, barred: list[int], rng: np.random.Generator) -> list[int]:
        """Random texts, no two of them the same text, nor the same as one of those `barred`.

        Args:
            wanted: how many; there must be as many.
            barred: numbers of texts.
            rng: draws them.
        """
        examples, keys = self.examples, set(self.examples.text_key[barred].tolist())
        # Drawing again beats listing the corpus, except where most of the corpus is barred.
        if 2 * (len(barred) + wanted) > self.count:
            free = np.setdiff1d(np.arange(self.first, self.first + self.count), np.array(barred, dtype=np.int64))
            return distinct_texts(examples, rng.permutation(free), keys, wanted)
        selected: list[int] = []
        while len(selected) < wanted:
            drawn = self.first + rng.integers(self.count, size=1)
            selected += distinct_texts(examples, drawn, keys, 1)
        return selected

    def group(self, query: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
        """A text with a label of the query's, and `wanted` with none of its labels: (1 + wanted) numbers.

        Args:
            query: row of a labelled text.
            wanted: negatives; there must be as many.
            rng: draws them.
        """
        examples = self.examples
        labels = examples.labels[query].tolist()
        alike = np.unique(np.concatenate([self._of_label[label] for label in labels]))
        positive = rng.choice(alike[examples.text_key[alike] != examples.query_key[query]])
        negatives, keys = self._negatives(alike, set(), wanted, rng)
        if len(negatives) < wanted:
            free = np.setdiff1d(np.arange(self.first, self.first + self.count), alike)
            negatives += distinct_texts(examples, rng.permutation(free), keys, wanted - len(negatives))
        return np.array([positive, *negatives], dtype=np.int64)

    def _negatives(
        self, alike: np.ndarray, keys: set[int], wanted: int, rng: np.random.Generator
    ) -> tuple[list[int], set[int]]:
        """At most `wanted` texts that are not `alike` (sorted), from a few draws, and their keys beside `keys`."""
        drawn = self.first + rng.integers(self.count, size=_TRIES * wanted)
        position = np.minimum(np.searchsorted(alike, drawn), len(alike) - 1)
        return distinct_texts(self.examples, drawn[alike[position] != drawn], keys, wanted), keys
