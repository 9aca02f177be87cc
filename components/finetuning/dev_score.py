"""nDCG@10 on the dev split while training: an exact small search, spread over the processes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from components.core.encoder import Encoder
from components.core.records import DataSet
from components.core.search import top_k
from components.finetuning.gather import Exchange
from components.finetuning.gradient_cache import Memory, embed
from components.finetuning.layout import deal

DEPTH = 10
METRIC = "dev_ndcg_at_10"


class DevSet:
    """The dev queries and the passages that they are searched in.

    Attributes:
        note: a line for the user when the corpus was cut, else empty.
    """

    def __init__(self, data: DataSet, corpus_size: int, seed: int) -> None:
        self.qrels = {q: found for q, found in data.qrels_of("dev").items() if any(g > 0 for g in found.values())}
        queries = data.queries_of("dev")
        rows = [row for row in queries.iter_rows(named=True) if row["query_id"] in self.qrels]
        self.query_ids = [row["query_id"] for row in rows]
        self.queries = [row["text"] for row in rows]
        self.instructions = [row["instruction"] or "" for row in rows]
        relevant = {p for found in self.qrels.values() for p, grade in found.items() if grade > 0}
        chosen, self.note = _cut(data.corpus["passage_id"].to_list(), relevant, corpus_size, seed)
        texts = data.passage_texts()
        self.passage_ids = [data.corpus["passage_id"][row] for row in chosen]
        self.passages = [texts[row] for row in chosen]

    def __len__(self) -> int:
        return len(self.query_ids)

    def score(self, encoder: Encoder, memory: Memory, exchange: Exchange) -> float:
        """Mean nDCG@10 over the dev queries, the same on every process."""
        vectors = _spread(self.queries, self.passages, self.instructions, encoder, memory, exchange)
        queries, passages = vectors[: len(self.queries)], vectors[len(self.queries) :]
        mine = range(exchange.rank, len(self.queries), exchange.size)
        _, found = top_k(queries[list(mine)], passages, DEPTH)
        total = 0.0
        for query, row in zip(mine, found.tolist(), strict=True):
            ranking = [self.passage_ids[place] for place in row if place >= 0]
            total += ndcg(ranking, self.qrels[self.query_ids[query]])
        return exchange.sum([total])[0] / max(1, len(self.queries))


def _cut(ids: Sequence[str], relevant: set[str], size: int, seed: int) -> tuple[list[int], str]:
    """Rows of the corpus to search: all if they are few, else the relevant ones and others at random."""
    if len(ids) <= size:
        return list(range(len(ids))), ""
    needed = [row for row, passage_id in enumerate(ids) if passage_id in relevant]
    others = np.array([row for row, passage_id in enumerate(ids) if passage_id not in relevant])
    drawn = np.random.default_rng(seed).permutation(others)[: max(0, size - len(needed))]
    rows = sorted([*needed, *drawn.tolist()])
    note = f"dev evaluation searches {len(rows):,} of {len(ids):,} passages: its nDCG@10 is above the true one"
    return rows, note


def _spread(
    queries: list[str],
    passages: list[str],
    instructions: list[str],
    encoder: Encoder,
    memory: Memory,
    exchange: Exchange,
) -> np.ndarray:
    """Embeddings (n, d) of queries and passages, each encoded by one process."""
    shares = deal([*map(len, queries), *map(len, passages)], exchange.size)
    mine = shares[exchange.rank].tolist()
    own = [row for row in mine if row < len(queries)]
    tokens = encoder.tokenize([queries[row] for row in own], "query", [instructions[row] for row in own])
    tokens += encoder.tokenize([passages[row - len(queries)] for row in mine if row >= len(queries)], "passage")
    vectors = exchange.gather(embed(encoder, tokens, memory), shares)
    return vectors.cpu().numpy()


def ndcg(ranking: Sequence[str], grades: Mapping[str, int]) -> float:
    """nDCG at `DEPTH` of one query as trec_eval has it: gain is the grade, discount log2(rank + 1)."""
    gains = [max(0, grades.get(passage_id, 0)) for passage_id in ranking[:DEPTH]]
    ideal = sorted((max(0, grade) for grade in grades.values()), reverse=True)[:DEPTH]
    best = sum(gain / math.log2(rank + 2) for rank, gain in enumerate(ideal))
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains)) / best if best else 0.0
