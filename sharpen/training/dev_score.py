"""nDCG@10 on the dev split while training: an exact small search, spread over the processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from sharpen.data.dataset import DataSet, with_groups
from sharpen.data.relevance import left_out, relevant, searched_part
from sharpen.distributed import ProcessGroup
from sharpen.errors import InputError
from sharpen.index.exact import top_k
from sharpen.index.quantization import as_stored
from sharpen.index.sizes import Variant
from sharpen.metrics import measure
from sharpen.models.encoder import Encoder
from sharpen.training.data.collator import assign_micro_batches
from sharpen.training.gradient.gradient_cache import embed
from sharpen.training.gradient.micro_batch import MicroBatchConfig

DEPTH = 10
METRIC = "dev_ndcg_at_10"
_NOTE = "note.txt"


class DevSet:
    """The dev queries and the passages that they are searched in.

    Attributes:
        note: a line for the user when the corpus was cut, else empty.
        query_ids, groups: of the queries that have a relevant passage; those of one group are not independent.

    Args:
        data: dev queries, their judgements, and the corpus to search.
        note: the attribute.
    """

    def __init__(self, data: DataSet, note: str = "") -> None:
        self.data, self.note = data, note
        self.qrels = {q: found for q, found in data.qrels_of("dev").items() if any(g > 0 for g in found.values())}
        queries = with_groups(data.queries_of("dev"))
        rows = [row for row in queries.iter_rows(named=True) if row["query_id"] in self.qrels]
        self.query_ids = [row["query_id"] for row in rows]
        self.groups = [row["group"] for row in rows]
        self.queries = [row["text"] for row in rows]
        self.instructions = [row["instruction"] or "" for row in rows]
        self.passage_ids = data.corpus["passage_id"].to_list()
        self.passages = data.passage_texts()
        self.left_out = left_out(data)

    @classmethod
    def cut(cls, data: DataSet, corpus_size: int, seed: int) -> DevSet:
        """The dev split of a data set, with all relevant passages and others random by `seed`, `corpus_size` in all.

        Raises:
            InputError: there is no dev query with a relevant passage.
        """
        data = searched_part(data)
        queries, qrels = (table.filter(pl.col("split") == "dev") for table in (data.queries, data.qrels))
        answers = relevant(qrels)["passage_id"]
        if answers.is_empty():
            raise InputError("eval_steps: the data set has no dev query with a relevant passage; set eval_steps to 0")
        rows, note = _cut(data.corpus["passage_id"].is_in(answers.implode()).to_numpy(), corpus_size, seed)
        return cls(DataSet(corpus=data.corpus[rows], queries=queries, qrels=qrels), note)

    def save(self, folder: Path) -> None:
        """Write it into an empty folder."""
        self.data.save(folder)
        (folder / _NOTE).write_text(self.note, encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> DevSet:
        """What `save` wrote."""
        return cls(DataSet.load(folder), (folder / _NOTE).read_text(encoding="utf-8"))

    def __len__(self) -> int:
        return len(self.query_ids)

    def ndcg(
        self, encoder: Encoder, memory: MicroBatchConfig, exchange: ProcessGroup, size: Variant | None = None
    ) -> np.ndarray:
        """nDCG@10 of each of `query_ids`, equal on all processes.

        Args:
            encoder: the model.
            memory: as in training.
            exchange: the processes.
            size: in which passages will be stored and searched; None: whole vectors.

        Raises:
            InputError: vectors cannot be stored so.
        """
        vectors = _spread(self.queries, self.passages, self.instructions, encoder, memory, exchange)
        queries, passages = vectors[: len(self.queries)], vectors[len(self.queries) :]
        if size is not None:
            queries, passages = as_stored(queries, passages, size, self.passage_ids, normalize=encoder.normalize)
        mine = range(exchange.rank, len(self.queries), exchange.size)
        more = max(map(len, self.left_out.values()), default=0)
        _, found = top_k(queries[list(mine)], passages, DEPTH + more)
        rankings = {}
        for query, row in zip(mine, found.tolist(), strict=True):
            out = self.left_out.get(self.query_ids[query], frozenset())
            rankings[self.query_ids[query]] = [
                name for row_index in row if row_index >= 0 and (name := self.passage_ids[row_index]) not in out
            ]
        values = np.zeros(len(self.queries))
        values[list(mine)] = measure(self.qrels, rankings, list(rankings), ["ndcg_at_10"])["ndcg_at_10"]
        return np.array(exchange.sum(values.tolist()))


def _cut(needed: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, str]:
    """Rows of the corpus to search: all if they are few, else the relevant ones (`needed`) and others at random."""
    if len(needed) <= size:
        return np.arange(len(needed)), ""
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(~needed))[: max(0, size - int(needed.sum()))]
    rows = np.sort(np.concatenate([np.flatnonzero(needed), drawn]))
    note = f"dev evaluation searches {len(rows):,} of {len(needed):,} passages: its nDCG@10 is above the true one"
    return rows, note


def _spread(
    queries: list[str],
    passages: list[str],
    instructions: list[str],
    encoder: Encoder,
    memory: MicroBatchConfig,
    exchange: ProcessGroup,
) -> np.ndarray:
    """Embeddings (n, d) of queries and passages, each encoded by one process."""
    shares = assign_micro_batches([*map(len, queries), *map(len, passages)], exchange.size)
    mine = shares[exchange.rank].tolist()
    local_queries = [row for row in mine if row < len(queries)]
    tokens = encoder.tokenize(
        [queries[row] for row in local_queries], "query", [instructions[row] for row in local_queries]
    )
    tokens += encoder.tokenize([passages[row - len(queries)] for row in mine if row >= len(queries)], "passage")
    vectors = exchange.gather(embed(encoder, tokens, memory, len(local_queries)), shares)
    return vectors.cpu().numpy()
