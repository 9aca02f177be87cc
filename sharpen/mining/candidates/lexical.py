"""BM25 over the corpus, with the library bm25s: Lucene's variant on stemmed words, with Anserini's k1 and b."""

from __future__ import annotations

import re
from collections.abc import Iterator

import bm25s
import numpy as np
import Stemmer

from sharpen.data.text import normalize
from sharpen.index.exact import NO_PASSAGE
from sharpen.mining.corpus import MiningCorpus
from sharpen.progress import progress

# Single letters and digits count, unlike in the library's own pattern: "vitamin C" is not "vitamin D".
WORD = r"(?u)\w+"
# The defaults of Anserini, the baseline of BEIR and MS MARCO; passages differ less in length than the web's pages.
K1, B = 0.9, 0.4


class Bm25:
    """An index of the pool's passages.

    Args:
        pool: passages to index.
        language: of stemmer and stop words; ``none``: every word as it is.
    """

    def __init__(self, pool: MiningCorpus, language: str) -> None:
        self.stemmer = None if language == "none" else Stemmer.Stemmer(language)
        stop_words = None if language == "none" else language
        tokens = bm25s.tokenize(
            [normalize(text) for text in pool.passages],
            lower=False,
            token_pattern=WORD,
            stopwords=stop_words,  # pyright: ignore[reportArgumentType]
            stemmer=self.stemmer,  # pyright: ignore[reportArgumentType]
            show_progress=False,
        )
        self.index = bm25s.BM25(method="lucene", k1=K1, b=B)
        self.index.index(tokens, show_progress=False)
        self.numbers: dict[str, int] = self.index.vocab_dict
        self.word = re.compile(WORD)

    def scores(self, text: str) -> np.ndarray:
        """Scores (passages) of one query, float32: 0 where it shares no word with the passage."""
        words = self.word.findall(normalize(text))
        stems = self.stemmer.stemWords(words) if self.stemmer else words
        known = [self.numbers[stem] for stem in stems if stem in self.numbers]
        return self.index.get_scores_from_ids(known)

    def ranked(self, pool: MiningCorpus, depth: int) -> Iterator[np.ndarray]:
        """Rows of the `depth` best passages of each query; `NO_PASSAGE` after the last that shares a word with it.

        Equal scores are ordered by the passage's row, which is the order of the ids.
        """
        with progress("Searching with BM25", len(pool.queries), "queries") as reporter:
            for text in pool.queries:
                row = np.full(depth, NO_PASSAGE, dtype=np.int64)
                best = _best(self.scores(text), depth)
                row[: len(best)] = best
                yield row
                reporter.advance(1)


def _best(scores: np.ndarray, depth: int) -> np.ndarray:
    """Rows of the `depth` highest scores above 0, descending, then by row."""
    rows = np.flatnonzero(scores > 0)
    if len(rows) > depth:
        lowest = np.partition(scores[rows], len(rows) - depth)[len(rows) - depth]
        rows = rows[scores[rows] >= lowest]
    return rows[np.argsort(-scores[rows], kind="stable")][:depth]
