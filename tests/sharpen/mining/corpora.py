"""Small data sets whose embeddings are given by hand, so that every score is known exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from sharpen.data.dataset import CORPUS, GIVEN_NEGATIVES, QRELS, QUERIES, TEACHER_SCORES, DataSet
from sharpen.mining.corpus import MiningCorpus, build_corpus
from sharpen.mining.mine import search_and_choose
from sharpen.mining.output import NegativesWriter
from sharpen.mining.rank_range import rank_range
from sharpen.mining.rankings import Approximate, MinerEmbeddings
from sharpen.mining.report.statistics import MiningStats
from sharpen.mining.rescoring import Rescorer
from sharpen.mining.settings import MiningSettings
from sharpen.reranking.cross_encoder import CrossEncoder
from sharpen.reranking.score_cache import ScoreCache


@dataclass
class World:
    """A data set, and the vector of each query and passage by id."""

    data: DataSet
    query_vectors: dict[str, list[float]]
    passage_vectors: dict[str, list[float]]


def world(
    queries: Sequence[tuple[str, str, list[float]]],
    passages: Sequence[tuple[str, str, list[float]]],
    positives: Sequence[tuple[str, str] | tuple[str, str, int]],
    *,
    given: Sequence[tuple[str, str]] = (),
    teacher: Sequence[tuple[str, str, float]] = (),
    splits: dict[str, str] | None = None,
) -> World:
    """From (id, text, vector) rows and (query id, passage id) pairs; a positive may have a grade, which is 1 else."""
    split_of = {query_id: (splits or {}).get(query_id, "train") for query_id, _, _ in queries}
    data = DataSet(
        corpus=pl.DataFrame([(p, "", text) for p, text, _ in passages], schema=CORPUS, orient="row"),
        queries=pl.DataFrame(
            [(q, text, split_of[q], "s", "", None) for q, text, _ in queries], schema=QUERIES, orient="row"
        ),
        qrels=pl.DataFrame(
            [(q, p, *(grade or [1]), split_of.get(q, "train")) for q, p, *grade in positives],
            schema=QRELS,
            orient="row",
        ),
        given_negatives=pl.DataFrame(list(given), schema=GIVEN_NEGATIVES, orient="row"),
        teacher_scores=pl.DataFrame(list(teacher), schema=TEACHER_SCORES, orient="row"),
    )
    return World(data, {q: v for q, _, v in queries}, {p: v for p, _, v in passages})


def random_world(seed: int, *, queries: int, passages: int, dimension: int = 2) -> World:
    """Few scores (many ties, half of them negative), copied texts, equal queries, several positives, all grades."""
    generator = np.random.default_rng(seed)
    texts = [f"text {number}" for number in generator.integers(0, max(2, passages * 3 // 4), passages)]
    passage_rows = [
        (f"p{number:03}", text.upper() if generator.random() < 0.3 else text, _vector(generator, dimension))
        for number, text in enumerate(texts)
    ]
    passage_rows.append((f"p{passages:03}", "relevant to nobody", _vector(generator, dimension)))
    query_rows = [
        (f"q{number:03}", _query_text(generator, texts, number), _vector(generator, dimension))
        for number in range(queries)
    ]

    def pairs(most: int) -> list[tuple[str, str]]:
        return [
            (query_id, f"p{number:03}")
            for query_id, _, _ in query_rows
            for number in generator.choice(passages, size=int(generator.integers(0, most + 1)), replace=False)
        ]

    positives = pairs(min(3, passages)) or [("q000", "p000")]
    splits = {query_id: str(generator.choice(["train", "train", "train", "test"])) for query_id, _, _ in query_rows}
    splits[positives[0][0]] = "train"
    graded = [(*pair, 3 if place == 0 else int(generator.choice([1, 1, 2, 3]))) for place, pair in enumerate(positives)]
    graded += [(*pair, 0) for pair in pairs(2) if pair not in positives]
    given = pairs(min(2, passages))
    teacher = [(query_id, passage_id, float(place)) for place, (query_id, passage_id) in enumerate(given[::2])]
    return world(query_rows, passage_rows, graded, given=given, teacher=teacher, splits=splits)


def _vector(generator: np.random.Generator, dimension: int) -> list[float]:
    return generator.integers(-3, 4, dimension).astype(float).tolist()


def _query_text(generator: np.random.Generator, texts: list[str], number: int) -> str:
    kind = generator.random()
    if kind < 0.2:
        return str(generator.choice(texts))
    return "the same query" if kind < 0.5 else f"query {number}"


Rankings = Mapping[str, Mapping[str, Sequence[str]]]
"""Source -> query id -> passage ids, best first."""


def random_rankings(made: World, sources: Sequence[str], seed: int) -> Rankings:
    """A ranking of some passages for most queries, for each source but the mining model."""
    generator = np.random.default_rng([seed, 99])
    ids = made.data.corpus["passage_id"].to_list()
    return {
        source: {
            query_id: generator.permutation(ids)[: generator.integers(0, len(ids) + 1)].tolist()
            for query_id in made.query_vectors
        }
        for source in sources
        if source != "model"
    }


Second = Callable[[str, str], float]
"""A cross-encoder's score of a query's and a passage's text."""


class Judge:
    """Stands where `CrossEncoder` does, with scores that are known by hand; `asked` holds every pair it was asked."""

    def __init__(self, second: Second, identity: str) -> None:
        self.second, self.identity = second, identity
        self.asked: list[tuple[str, str]] = []

    def scores(self, queries: Sequence[str], passages: Sequence[str]) -> np.ndarray:
        pairs = list(zip(queries, passages, strict=True))
        self.asked += pairs
        return np.array([self.second(*pair) for pair in pairs], dtype=np.float32)


def mined(
    made: World,
    settings: MiningSettings,
    folder: Path,
    others: Rankings | None = None,
    judge: Judge | CrossEncoder | None = None,
    index: Callable[[np.ndarray], Approximate] | None = None,
) -> tuple[list[dict], MiningStats]:
    """The rows of the negatives table, and the figures; `index` makes an approximate one of the passages' vectors."""
    pool = build_corpus(made.data, "data", settings.relevance_level)
    queries = np.array([made.query_vectors[query_id] for query_id in pool.query_ids], dtype=np.float32)
    passages = np.array([made.passage_vectors[passage_id] for passage_id in pool.passage_ids], dtype=np.float32)
    scope = rank_range(settings, len(passages))
    tables = {source: as_rows(found, pool, scope.reach) for source, found in (others or {}).items()}
    folder.mkdir(parents=True, exist_ok=True)
    writer = NegativesWriter(folder, pool, settings.candidate_sources, made.data.teacher_scores)
    rescorer = Rescorer(judge, pool, ScoreCache(judge.identity, 20)) if judge else None  # type: ignore[arg-type]
    vectors = MinerEmbeddings(queries, passages, index(passages) if index else None)
    figures = search_and_choose(vectors, tables, pool, settings, scope, writer, rescorer)
    return pl.read_parquet(folder / "negatives").rows(named=True), figures


def as_rows(found: Mapping[str, Sequence[str]], pool: MiningCorpus, depth: int) -> np.ndarray:
    """A source's ranking as `rank_all` gives it."""
    number = {passage_id: row for row, passage_id in enumerate(pool.passage_ids)}
    table = np.full((len(pool.query_ids), depth), -1, dtype=np.int32)
    for row, query_id in enumerate(pool.query_ids):
        ranked = [number[passage_id] for passage_id in found.get(query_id, [])][:depth]
        table[row, : len(ranked)] = ranked
    return table
