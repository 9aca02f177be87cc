"""The queries and passages that all miners get, each in its own format, and the FLOPs of the work on them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from transformers import AutoConfig, AutoTokenizer

from sharpen.data.dataset import DataSet
from tests.peers.floor import encoding_flops, search_flops
from tests.peers.medquad_data import cut, prepared, publish


class Row(TypedDict):
    """A row of FlagEmbedding's format."""

    query: str
    pos: list[str]
    neg: list[str]


@dataclass(frozen=True)
class MiningData:
    """What was written.

    Attributes:
        folder: our data set, for Sharpen.
        rows: FlagEmbedding's format, ``{"query", "pos", "neg": []}``, a line a query.
        pool: ``{"text"}``, a line a passage.
        queries, passages: how many.
        tokens: unpadded tokens of all distinct texts.
        encode_queries, encode_passages: FLOPs of a forward pass over the distinct ones, by `floor.FORMULA`.
        search: FLOPs of all inner products.
    """

    folder: Path
    rows: Path
    pool: Path
    queries: int
    passages: int
    tokens: int
    encode_queries: float
    encode_passages: float
    search: float


def write_mining_data(
    folder: Path, model: Path, queries: int | None, passages: int | None, lengths: tuple[int, int], seed: int
) -> MiningData:
    """Write the data of a benchmark.

    Args:
        folder: where to.
        model: its tokeniser counts.
        queries, passages: how many of MedQuAD's; None: all.
        lengths: longest query and passage in tokens.
        seed: of the cut.
    """
    data = cut(prepared(), train=queries, test=0, passages=passages, seed=seed)
    publish(data, folder / "data")
    rows, pool = folder / "rows.jsonl", folder / "pool.jsonl"
    write_lines(rows, training_rows(data))
    write_lines(pool, [{"text": text} for text in data.passage_texts()])
    config, tokenizer = AutoConfig.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    query_tokens, passage_tokens = (
        [len(ids) for ids in tokenizer(list(dict.fromkeys(texts)), truncation=True, max_length=longest)["input_ids"]]
        for texts, longest in zip((data.queries["text"].to_list(), data.passage_texts()), lengths, strict=True)
    )
    return MiningData(
        folder / "data",
        rows,
        pool,
        data.queries.height,
        data.corpus.height,
        sum(query_tokens) + sum(passage_tokens),
        encoding_flops(query_tokens, config),
        encoding_flops(passage_tokens, config),
        search_flops(data.queries.height, data.corpus.height, config.hidden_size),
    )


def training_rows(data: DataSet) -> list[Row]:
    """``{"query", "pos", "neg": []}`` of every query, its positives in the order of their ids."""
    texts = dict(zip(data.corpus["passage_id"].to_list(), data.passage_texts(), strict=True))
    positives: dict[str, list[str]] = {}
    for query_id, passage_id in data.qrels.select("query_id", "passage_id").sort("passage_id").iter_rows():
        positives.setdefault(query_id, []).append(texts[passage_id])
    return [
        {"query": text, "pos": positives[query_id], "neg": []}
        for query_id, text in data.queries.select("query_id", "text").iter_rows()
    ]


def write_lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """JSON Lines."""
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
