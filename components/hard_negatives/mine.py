"""Mine hard negatives: encode, search exactly, choose by rank and score, and report what was left out and why."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from components.core import storage
from components.core.encoder import Encoder, weights_hash
from components.core.errors import InputError
from components.core.place import run_id
from components.core.progress import progress
from components.core.readers import read_dataset
from components.core.search import pair_scores, top_k_blocks
from components.core.settings import EncoderSettings
from components.core.vectors import vectors_of
from components.hard_negatives.choose import UNRANKED, choose
from components.hard_negatives.output import PAGE, REPORT, Writer
from components.hard_negatives.page import render_page
from components.hard_negatives.pool import Pool, make_pool
from components.hard_negatives.report import Figures
from components.hard_negatives.rules import Ranking
from components.hard_negatives.scope import Scope, make_scope
from components.hard_negatives.settings import MiningSettings


def mine(data: str, model: str, output: str, settings: MiningSettings, encoder: EncoderSettings) -> storage.Marker:
    """Mine negatives for the training queries and write the folder: negatives, report.json, report.html.

    Args:
        data: data set of ours, BEIR folder or FlagEmbedding JSONL.
        model: address of the model that scores the passages: a folder, ``s3://``, or a hub id.
        output: address of the folder to write.
        settings: where to look, what may be a negative, how many.
        encoder: how texts become embeddings.

    Returns:
        The marker of the written folder.

    Raises:
        InputError: no such data or model, nothing to mine for, an embedding that is not a number, or rules under which
            no passage is a negative of any query.
    """
    started = time.monotonic()
    dataset = read_dataset(data)
    pool = make_pool(dataset, data)
    scope = make_scope(settings, len(pool.passage_ids))
    for notice in scope.notices:
        print(f"note: {notice}", flush=True)
    rows: dict[str, int] = {}
    facts: dict[str, Any] = {"model": model, "data": data, "data_fingerprint": dataset.fingerprint()}
    with storage.new_folder(output, producer="hard_negatives", run_id=run_id(), rows=rows, facts=facts) as folder:
        loaded = Encoder.load(model, encoder)
        queries, passages = embed(loaded, pool)
        encoded = time.monotonic()

        figures = search_and_choose(queries, passages, pool, settings, scope, folder, dataset.teacher_scores)
        if not figures.negatives:
            raise InputError(_nothing_left(data, settings, figures))
        done = time.monotonic()
        seconds = {"encoding": encoded - started, "search_and_choice": done - encoded, "total": done - started}
        facts["model_hash"] = weights_hash(loaded)
        report = {
            **figures.report(),
            **facts,
            "seconds": {name: round(value, 2) for name, value in seconds.items()},
            "settings": settings.model_dump(mode="json"),
            "encoder": encoder.model_dump(mode="json"),
        }
        rows |= {"negatives": figures.negatives, "queries": len(pool.query_ids)}
        facts |= {"dropped_queries": figures.dropped_queries}
        (folder / REPORT).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / PAGE).write_text(render_page(report), encoding="utf-8")
    return storage.read_marker(output)


def embed(encoder: Encoder, pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, d) of the queries and (m, d) of the passages, in the pool's order.

    A query with an instruction of its own is encoded under that one, as it is trained.

    Raises:
        InputError: an embedding is not a number.
    """
    queries = vectors_of(encoder, pool.queries, "query", pool.instructions)
    passages = vectors_of(encoder, pool.passages, "passage")
    for kind, vectors, ids in (("query", queries, pool.query_ids), ("passage", passages, pool.passage_ids)):
        faulty = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(faulty):
            raise InputError(
                f"the model's embedding of {kind} {ids[faulty[0]]} is not a number ({len(faulty):,} of {len(ids):,} "
                "such): its weights are damaged; try precision=fp32, then another model"
            )
    return queries, passages


def search_and_choose(
    queries: np.ndarray,
    passages: np.ndarray,
    pool: Pool,
    settings: MiningSettings,
    scope: Scope,
    folder: Path,
    teacher_scores: pl.DataFrame,
) -> Figures:
    """Search in blocks of queries, choose for each block, write it, count it.

    Args:
        queries: (n, d) embeddings in the pool's order.
        passages: (m, d) likewise; may be memory-mapped.
        pool, settings, scope: what is mined and how.
        folder: where the negatives are written.
        teacher_scores: scores of a teacher that the user brought, kept with the negatives.
    """

    def score_pairs(query_rows: np.ndarray, passage_rows: np.ndarray) -> np.ndarray:
        return pair_scores(queries, passages, query_rows, passage_rows)

    positive_scores = score_pairs(pool.positives.queries, pool.positives.numbers)
    figures = Figures(pool, positive_scores, settings, scope)
    writer = Writer(folder, pool, teacher_scores)
    for ranking in rankings(queries, passages, pool, positive_scores, scope):
        choice = choose(ranking, pool, settings, scope, score_pairs)
        best = best_positive_ranks(ranking, pool)
        inconsistent = (best == UNRANKED) | (best > settings.consistency_top)
        inconsistent &= settings.consistency_top > 0
        dropped = inconsistent & (settings.on_inconsistent == "drop")
        figures.add(ranking, choice, best, dropped)
        figures.hidden.add(ranking, pool, positive_scores, settings, scope, score_pairs)
        writer.add(ranking, choice, best, inconsistent, dropped)
    writer.close(with_inconsistent=settings.consistency_top > 0)
    return figures


def rankings(
    queries: np.ndarray, passages: np.ndarray, pool: Pool, positive_scores: np.ndarray, scope: Scope
) -> Iterator[Ranking]:
    """The search's answer, a block of consecutive queries at a time, with progress."""
    starts = np.searchsorted(pool.positives.keys, np.arange(len(queries)) * pool.positives.width)
    anchors = np.minimum.reduceat(positive_scores, starts)
    with progress("Searching and choosing", len(queries), "queries") as reporter:
        for found in top_k_blocks(queries, passages, scope.depth):
            rows = np.arange(found.start, found.start + len(found.scores))
            yield Ranking(rows, found.indices, found.scores, anchors[rows])
            reporter.advance(len(rows))


def best_positive_ranks(ranking: Ranking, pool: Pool) -> np.ndarray:
    """Rank of each query's best own positive, counted from 1; `UNRANKED` below the searched ranks."""
    met = pool.positives.has(ranking.queries[:, None], ranking.passages)
    return np.where(met.any(axis=1), met.argmax(axis=1) + 1, UNRANKED)


def _nothing_left(data: str, settings: MiningSettings, figures: Figures) -> str:
    if figures.dropped_queries == len(figures.pool.query_ids):
        top = settings.consistency_top
        return f"{data}: no query has a positive in the top {top}, so all are dropped; raise consistency_top"
    names = ("relative_margin", "absolute_margin", "max_score", "min_score")
    values = [f"{name} {getattr(settings, name)}" for name in names if getattr(settings, name) is not None]
    rules = ", ".join(values) or "no score rule is set"
    return f"{data}: no passage is left as a negative of any query; relax the rules ({rules}) or allow top_up"
