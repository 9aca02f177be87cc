"""Mine hard negatives: rank the corpus, choose by rank and score, and report what was left out and why."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sharpen.data.readers import read_dataset
from sharpen.embeddings import LazyEncoder
from sharpen.errors import InputError
from sharpen.index.ann import chosen_factory
from sharpen.index.exact_device import gpu_of
from sharpen.mining.candidates.sources import open_sources, rank_all, searched
from sharpen.mining.corpus import MiningCorpus, build_corpus
from sharpen.mining.output import PAGE, REPORT, NegativesWriter
from sharpen.mining.rank_range import RankRange, rank_range
from sharpen.mining.rankings import MinerEmbeddings, approximated, candidate_blocks, embed, search_facts
from sharpen.mining.report.page import render_page
from sharpen.mining.report.statistics import MiningStats
from sharpen.mining.report.summary import summary
from sharpen.mining.rescoring import Rescorer, make_rescorer, rescored
from sharpen.mining.rules import NOT_RANKED
from sharpen.mining.selection import choose
from sharpen.mining.settings import MODEL, MiningSettings
from sharpen.reranking.pair_scorer import QUERIES_AT_ONCE
from sharpen.run_context import run_id
from sharpen.settings import EncoderSettings
from sharpen.store import storage

logger = logging.getLogger(__name__)


def mine(data: str, model: str, output: str, settings: MiningSettings, encoder: EncoderSettings) -> storage.Manifest:
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
        InputError: no such data, model or file of candidates, nothing to mine for, an embedding that is not a number,
            or rules under which no passage is a negative of any query.
    """
    started = time.monotonic()
    dataset = read_dataset(data)
    pool = build_corpus(dataset, data, settings.relevance_level)
    sources, notices = open_sources(settings, encoder, pool)
    rescorer = make_rescorer(settings, encoder, pool)
    if rescorer and dataset.teacher_scores.height:
        notices.append("the teacher scores of the data are not used: the cross-encoder's replace them")
    scope = rank_range(settings, len(pool.passage_ids), notices)
    for notice in scope.notices:
        logger.warning(f"note: {notice}")
    rows: dict[str, int] = {}
    facts: dict[str, Any] = {"model": model, "data": data, "data_fingerprint": dataset.fingerprint()}
    with (
        storage.publish(output, producer="hard_negatives", run_id=run_id(), rows=rows, facts=facts) as folder,
        tempfile.TemporaryDirectory(prefix="sharpen-") as scratch,
    ):
        opened = LazyEncoder.open(model, encoder)
        factory = chosen_factory(settings.index, settings.exact_up_to, len(pool.passage_ids), opened.dimension)
        others = rank_all(sources, pool, scope.reach, Path(scratch))
        ranked = time.monotonic()
        queries, passages = embed(opened, pool, model, pool.instructions)
        opened.unload()
        encoded = time.monotonic()
        index = approximated(queries, passages.vectors, scope.depth, factory, settings.seed)
        vectors = MinerEmbeddings(queries, passages.vectors, index, gpu_of(opened.device), passages.rows)

        writer = NegativesWriter(folder, pool, settings.candidate_sources, dataset.teacher_scores)
        figures = search_and_choose(vectors, others, pool, settings, scope, writer, rescorer)
        if not figures.negatives:
            raise InputError(_nothing_left(data, settings, figures))
        facts |= {"model_hash": opened.weights_hash, "dropped_queries": figures.dropped_queries}
        rows |= {"negatives": figures.negatives, "queries": len(pool.query_ids)}
        report = figures.report() | facts | {"search": {MODEL: search_facts(index)} | searched(sources)}
        report |= {"seconds": _durations(started, ranked, encoded, time.monotonic())}
        report |= {"settings": settings.model_dump(mode="json"), "encoder": encoder.model_dump(mode="json")}
        if rescorer:
            report["rescoring"] |= {"pairs_scored": rescorer.scored, "hash": rescorer.cross_encoder.identity}
        (folder / REPORT).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / PAGE).write_text(render_page(report), encoding="utf-8")
    logger.info("\n".join([*summary(report), f"report  {storage.join(output, PAGE)}"]))
    return storage.read_manifest(output)


def _durations(started: float, ranked: float, encoded: float, done: float) -> dict[str, float]:
    """Seconds of each phase, from the times at which they ended."""
    seconds = {
        "other_sources": ranked - started,
        "encoding": encoded - ranked,
        "search_and_choice": done - encoded,
        "total": done - started,
    }
    return {name: round(value, 2) for name, value in seconds.items()}


def search_and_choose(
    vectors: MinerEmbeddings,
    others: Mapping[str, np.ndarray],
    pool: MiningCorpus,
    settings: MiningSettings,
    scope: RankRange,
    writer: NegativesWriter,
    rescorer: Rescorer | None = None,
) -> MiningStats:
    """Search in blocks of queries, choose for each block, write it, count it.

    Args:
        vectors: the mining model's embeddings.
        others: (n, reach) rankings of the sources other than the mining model, by name.
        pool, settings, scope: what is mined and how.
        writer: writes the negatives.
        rescorer: the cross-encoder that judges the margins; None: the mining model does.
    """
    positive_scores = vectors.score(pool.positives.queries, pool.positives.numbers)
    figures = MiningStats(pool, positive_scores, settings, scope)
    most = QUERIES_AT_ONCE if rescorer else None
    for found, best in candidate_blocks(vectors, others, pool, positive_scores, settings, scope, most):
        with rescored(rescorer, found) as (ranking, rescore):
            choice = choose(ranking, pool, settings, scope, vectors.score, rescore)
            inconsistent = (best == NOT_RANKED) | (best > settings.consistency_top)
            inconsistent &= settings.consistency_top > 0
            dropped = inconsistent & (settings.on_inconsistent == "drop")
            teacher = rescore(ranking.queries[choice.row], choice.passage) if rescore else None
            figures.add(ranking, choice, best, dropped, teacher)
            figures.estimate(ranking, vectors.score, rescorer.positives if rescorer else None, rescore)
            writer.add(ranking, choice, best, inconsistent, dropped, teacher)
    if rescorer:
        writer.add_positives(pool, rescorer.positives)
        figures.audit.positive_scores = rescorer.positives
    writer.close(with_inconsistent=settings.consistency_top > 0)
    return figures


def _nothing_left(data: str, settings: MiningSettings, figures: MiningStats) -> str:
    if figures.dropped_queries == len(figures.pool.query_ids):
        top = settings.consistency_top
        return f"{data}: no query has a positive in the top {top}, so all are dropped; raise consistency_top"
    names = ["relative_margin", "absolute_margin", "max_score", "min_score"]
    names += ["rescoring_max_score"] if settings.rescoring_model else []
    values = [f"{name} {getattr(settings, name)}" for name in names if getattr(settings, name) is not None]
    rules = ", ".join(values) or "no score rule is set"
    return f"{data}: no passage is left as a negative of any query; relax the rules ({rules}) or allow top_up"
