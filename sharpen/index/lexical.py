"""BM25 over texts, with the library bm25s: Lucene's variant on stemmed words, with Anserini's k1 and b.

It splits at word ends, so it does not serve languages that are written without spaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import bm25s
import numpy as np
import Stemmer

from sharpen.data.text import normalize
from sharpen.index.settings import Bm25Language
from sharpen.progress import progress

# Single letters and digits count, unlike in the library's own pattern: "vitamin C" is not "vitamin D".
WORD = r"(?u)\w+"
# The defaults of Anserini, the baseline of BEIR and MS MARCO; passages differ less in length than the web's pages.
K1, B = 0.9, 0.4


class Bm25:
    """An index of passages.

    Args:
        passages: their texts.
        language: of stemmer and stop words; ``none``: every word as it is.
    """

    def __init__(self, passages: Sequence[str], language: Bm25Language) -> None:
        self.stemmer = None if language == "none" else Stemmer.Stemmer(language)
        stop_words = None if language == "none" else language
        tokens = bm25s.tokenize(
            [normalize(text) for text in passages],
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

    def best(self, text: str, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores of the at most `depth` best passages of a query; none that shares no word with it.

        Equal scores are ordered by the passage's row, at the last rank too.
        """
        scores = self.scores(text)
        rows = np.flatnonzero(scores > 0)
        if len(rows) > depth:
            lowest = np.partition(scores[rows], len(rows) - depth)[len(rows) - depth]
            rows = rows[scores[rows] >= lowest]
        rows = rows[np.argsort(-scores[rows], kind="stable")][:depth]
        return rows, scores[rows]

    def ranked(self, queries: Sequence[str], depth: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """`best` of every query in turn, with progress."""
        with progress("Searching with BM25", len(queries), "queries") as reporter:
            for text in queries:
                yield self.best(text, depth)
                reporter.advance(1)
