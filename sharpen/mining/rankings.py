"""The mining model's embeddings, an index of them, and the candidates of every query with the model's scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharpen.embeddings import LazyEncoder, PassageRows, PassageVectors, embed_passages, embed_texts, not_finite
from sharpen.errors import InputError
from sharpen.index import ann
from sharpen.index.ann import Effort
from sharpen.index.distinct import passage_blocks
from sharpen.index.exact import Neighbours, pair_scores, top_k_blocks
from sharpen.mining.candidates.merge import merge
from sharpen.mining.corpus import MiningCorpus
from sharpen.mining.rank_range import RankRange
from sharpen.mining.rules import NOT_RANKED, Ranking
from sharpen.mining.settings import MODEL, MiningSettings
from sharpen.progress import progress


def embed(
    encoder: LazyEncoder, pool: MiningCorpus, model: str, instructions: Sequence[str] | None
) -> tuple[np.ndarray, PassageVectors]:
    """Embeddings (n, d) of the queries, and those of the passages, in the pool's order.

    Args:
        encoder: the model.
        pool: what is encoded.
        model: its address, for messages.
        instructions: an instruction for each query, where it has one of its own; None: the model's own prompt.

    Raises:
        InputError: an embedding is not a number.
    """
    queries = embed_texts(encoder, pool.queries, "query", instructions)
    passages = embed_passages(encoder, pool.passages, pool.titles)
    names = pool.passage_ids if passages.rows is None else passages.rows.named(pool.passage_ids)
    for kind, vectors, ids in (("query", queries, pool.query_ids), ("passage", passages.vectors, names)):
        faulty = not_finite(vectors)
        if len(faulty):
            raise InputError(
                f"{model}: the embedding of {kind} {ids[faulty[0]]} is not a number ({len(faulty):,} of {len(ids):,} "
                "such): the weights are damaged; try precision=fp32, then another model"
            )
    return queries, passages


@dataclass(frozen=True)
class Approximate:
    """A FAISS index of the passages, its factory string, and how hard it is searched."""

    index: Any
    factory: str
    effort: Effort

    def blocks(self, queries: np.ndarray, passages: np.ndarray, depth: int) -> Iterator[Neighbours]:
        """The best `depth` of `passages` (m, d) for blocks of consecutive `queries` (n, d)."""
        return ann.approximate_blocks(self.index, queries, passages, depth, factory=self.factory, effort=self.effort)


def approximated(queries: np.ndarray, passages: np.ndarray, depth: int, factory: str, seed: int) -> Approximate | None:
    """The `factory`'s index of `passages` (m, d) by `seed`, for `depth` ranks of `queries` (n, d); None: exact."""
    if factory == ann.EXACT:
        return None
    index = ann.build_index(passages, factory, seed=seed)
    effort = ann.measured_recall(index, queries, passages, depth, factory=factory, seed=seed)
    return Approximate(index, factory, effort)


def search_facts(approximate: Approximate | None) -> dict[str, Any]:
    """What the report says of a search."""
    if approximate is None:
        return {"index": ann.EXACT}
    effort = approximate.effort
    return {
        "index": approximate.factory,
        "recall": effort.recall,
        "ranks": effort.k,
        "queries": effort.queries,
        "looked_at": effort.looked_at,
        "candidates_per_hit": effort.candidates_per_hit,
    }


@dataclass(frozen=True)
class MinerEmbeddings:
    """The mining model's embeddings of a pool.

    Attributes:
        queries: (n, d).
        passages: (m, d); may be memory-mapped.
        approximate: an index of the passages; None: the search is exact.
        device: the GPU that searches exactly, if there is one.
        rows: which passage each vector is of, where one may have several; its score is that of its best one.
    """

    queries: np.ndarray
    passages: np.ndarray
    approximate: Approximate | None = None
    device: str | None = None
    rows: PassageRows | None = None

    def nearest(self, depth: int) -> Iterator[Neighbours]:
        """The `depth` best passages of every query, a block of consecutive queries at a time."""
        if self.rows is not None:
            return passage_blocks(self._best, self.queries, self.rows, depth)
        return self._blocks(self.queries, depth)

    def _blocks(self, queries: np.ndarray, depth: int) -> Iterator[Neighbours]:
        if self.approximate:
            return self.approximate.blocks(queries, self.passages, depth)
        return top_k_blocks(queries, self.passages, depth, device=self.device)

    def _best(self, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        found = list(self._blocks(queries, depth))
        return np.concatenate([one.scores for one in found]), np.concatenate([one.indices for one in found])

    def score(self, query_rows: np.ndarray, passage_rows: np.ndarray) -> np.ndarray:
        """Scores of pairs, float32: the same that the search gives them."""
        if self.rows is None:
            return pair_scores(self.queries, self.passages, query_rows, passage_rows)
        counts = self.rows.counts[passage_rows]
        if not len(counts):
            return np.empty(0, dtype=np.float32)
        vectors = self.rows.vectors_of(passage_rows)
        scores = pair_scores(self.queries, self.passages, np.repeat(query_rows, counts), vectors)
        return np.maximum.reduceat(scores, np.cumsum(counts) - counts)


def candidate_blocks(
    vectors: MinerEmbeddings,
    others: Mapping[str, np.ndarray],
    pool: MiningCorpus,
    positive_scores: np.ndarray,
    settings: MiningSettings,
    scope: RankRange,
    most: int | None = None,
) -> Iterator[tuple[Ranking, np.ndarray]]:
    """Search with progress, and yield the candidates of consecutive queries, a block at a time.

    The mining model searches even where it is no source of candidates: that gives the rank of the best positives.

    Args:
        vectors: of the mining model.
        others: source -> (n, reach) its ranking.
        pool: the queries.
        positive_scores: score of each pair of ``pool.positives``.
        settings, scope: sources and ranks.
        most: queries in a block; None: as the search gives them.

    Yields:
        the candidates, and `best_positive_ranks`.
    """
    starts = np.searchsorted(pool.positives.keys, np.arange(len(pool.query_ids)) * pool.positives.width)
    anchors = np.minimum.reduceat(positive_scores, starts)
    # sorted by query, then as the search ranks: the first of each query is its best
    highest = np.lexsort((pool.positives.numbers, -positive_scores, pool.positives.queries))[starts]
    best_positives, best_scores = pool.positives.numbers[highest], positive_scores[highest]
    with progress("Searching and choosing", len(pool.query_ids), "queries") as reporter:
        for found in vectors.nearest(scope.depth):
            rows = np.arange(found.start, found.start + len(found.scores))
            named = {MODEL: found.indices[:, : scope.reach], **{name: table[rows] for name, table in others.items()}}
            merged = merge([named[source] for source in settings.candidate_sources])
            scores = found.scores[:, : merged.passages.shape[1]]
            if settings.candidate_sources != [MODEL]:
                scores = _scored(vectors, rows, merged.passages)
            ranking = Ranking(
                rows, merged.passages, merged.ranks, merged.sources, merged.found_by, scores, anchors[rows]
            )
            best = best_positive_ranks(found, best_positives[rows], best_scores[rows])
            for start in range(0, len(rows), most or len(rows)):
                part = slice(start, start + (most or len(rows)))
                yield ranking.rows(part), best[part]
                reporter.advance(len(rows[part]))


def _scored(vectors: MinerEmbeddings, rows: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Scores of the found passages (n, width); -inf where there is none."""
    scores = np.full(found.shape, -np.inf, dtype=np.float32)
    real = found >= 0
    scores[real] = vectors.score(np.broadcast_to(rows[:, None], found.shape)[real], found[real])
    return scores


def best_positive_ranks(found: Neighbours, positives: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Rank of each query's best positive (n,), from 1, in the mining model's search; `NOT_RANKED` below its end.

    A positive that an approximate index missed has the rank that its score gives it among the hits, which is no lower
    than its rank in the exact search: that the index missed it says nothing about its label.

    Args:
        found: the hits of n queries.
        positives, scores: (n,) row of each query's best positive, and its score.
    """
    score, passage = scores[:, None], positives[:, None]
    before = (found.scores > score) | ((found.scores == score) & (found.indices < passage))
    ranks = before.sum(axis=1) + 1
    return np.where(ranks <= found.scores.shape[1], ranks, NOT_RANKED)
