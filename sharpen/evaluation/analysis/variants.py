"""Smaller vectors, measured: fewer dimensions, fewer bits; what they lose, their size and how long a search takes.

Metrics are those of an exact search of float32 queries over the stored vectors, read back. Size is that of the FAISS
file, and latency that of one query after the other in it, warm, on the machine that evaluates.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sharpen.embeddings import LazyEncoder
from sharpen.evaluation.artifact import EvaluationArtifact, per_query_table
from sharpen.evaluation.comparison import compare_tables, correct
from sharpen.evaluation.retrieval import Embedded, rank, score
from sharpen.evaluation.settings import EvaluationSettings, metric_names
from sharpen.evaluation.significance import paired
from sharpen.evaluation.split import EvaluationSplit
from sharpen.hardware import measurement
from sharpen.index import faiss_file
from sharpen.index.ann import EXACT
from sharpen.index.faiss_file import EXACT_EFFORT, Searchable
from sharpen.index.quantization import BLOCK, codec_for, computed, cut, largest_value
from sharpen.index.sizes import FULL, Variant, parse_variants
from sharpen.metrics import means
from sharpen.progress import silent

TOP = 10
GATE_REFERENCES = ("base", "champion")
"""References with which the gate compares a model in the size that it will be served in."""

TIMED_QUERIES, WARM_UP = 200, 20
TIMED_PASSAGES, TIMED_FIRST, TIMED_SECONDS = 512, 64, 10.0


@dataclass(frozen=True)
class Storage:
    """What a variant takes: bytes of a passage, of the index file, and milliseconds of a query's search."""

    bytes_per_passage: int
    index_bytes: int
    latency_ms_p50: float
    latency_ms_p95: float


def measure_variants(
    encoder: LazyEncoder,
    embedded: Embedded,
    eval_set: EvaluationSplit,
    values: dict[str, np.ndarray],
    settings: EvaluationSettings,
    references: Mapping[str, EvaluationArtifact] | None = None,
) -> tuple[dict[str, Any], pl.DataFrame]:
    """variants.json: every variant of the settings after the full vectors, and how fast passages are encoded.

    Args:
        encoder: the model.
        embedded: its embeddings of `eval_set`.
        eval_set: queries, corpus and judgements.
        values: metric -> (queries,) of the full vectors.
        settings: variants, price of an hour, how models are compared.
        references: name -> evaluation of what the model is compared with; of these `GATE_REFERENCES` are, at each size.

    Returns:
        ``{"variants": [{"name", "dimension", "precision", "bytes_per_passage", "index_bytes", "latency_ms_p50",
        "latency_ms_p95", "metrics", "against_full", "against", "against_size"}], "encoding": {"passages_per_second",
        "hours_per_million_passages", "cost_per_million_passages"}, "measured_on": {...}}``. ``against_full`` holds each
        metric as in comparison.json (``p_holm``: over the variants), for the full vectors nothing; ``against`` the same
        for each reference, in the size that ``against_size`` names: this one where the reference was measured in it,
        else in full. The cost is null where no price is set. And the rows of `artifact.per_query_table` of each variant
        of the settings, with its name as ``variant``.
    """
    dimension = embedded.passages.shape[1]
    full = Variant(FULL, dimension, "fp32")
    rows = [_row(full, embedded, embedded, values, _stored(full, embedded, eval_set.passage_ids)[1])]
    names, tables = metric_names(settings.cutoffs), []
    for variant in parse_variants(settings.variants):
        short = _shortened(embedded, variant, normalize=encoder.config.normalize)
        read_back, storage = _stored(variant, short, eval_set.passage_ids)
        found = score(eval_set, rank(replace(short, passages=read_back), eval_set, settings), settings)
        row = _row(variant, embedded, short, found, storage)
        results = paired(
            np.column_stack([values[name] for name in names]),
            np.column_stack([found[name] for name in names]),
            eval_set.groups,
            resamples=settings.resamples,
            confidence_level=settings.confidence_level,
            seed=settings.seed,
        )
        row["against_full"] = {name: asdict(result) for name, result in zip(names, results, strict=True)}
        rows.append(row)
        table = per_query_table(eval_set, found)
        row |= _against(table, variant, references or {}, settings)
        tables.append(table.insert_column(0, pl.lit(variant.name).alias("variant")))
    correct([row["against_full"] for row in rows[1:]], names, "p_holm")
    found_all = {
        "variants": rows,
        "encoding": encoding_speed(encoder, eval_set, settings.cost_per_hour),
        "measured_on": machine(encoder),
    }
    return found_all, pl.concat(tables)


def _against(
    table: pl.DataFrame,
    variant: Variant,
    references: Mapping[str, EvaluationArtifact],
    settings: EvaluationSettings,
) -> dict[str, Any]:
    """``against`` and ``against_size`` of a variant with these per-query values."""
    against, sizes = {}, {}
    for name in GATE_REFERENCES:
        if one := references.get(name):
            same = one.at(variant.name)
            sizes[name] = FULL if same is None else variant.name
            other = one.per_query if same is None else same
            against[name] = compare_tables(name, one.address, table, other, settings)
    return {"against": against, "against_size": sizes}


def _row(
    variant: Variant, whole: Embedded, short: Embedded, values: dict[str, np.ndarray], storage: Storage
) -> dict[str, Any]:
    return {
        "name": variant.name,
        "dimension": short.passages.shape[1],
        "precision": variant.precision,
        **asdict(storage),
        "share_of_full": storage.bytes_per_passage / _bytes_per_passage(4 * whole.passages.shape[1], whole),
        "metrics": means(values),
        "against_full": {},
        "against": {},
        "against_size": {},
    }


def _shortened(embedded: Embedded, variant: Variant, *, normalize: bool) -> Embedded:
    whole = embedded.passages.shape[1]
    dimension = variant.dimension or whole

    def shorten(vectors: np.ndarray) -> np.ndarray:
        return cut(vectors, dimension, normalize=normalize)

    passages = computed(embedded.passages, dimension, shorten)
    return replace(embedded, queries=shorten(embedded.queries), passages=passages)


def _bytes_per_passage(bytes_per_vector: int, embedded: Embedded) -> int:
    vectors = 1 if embedded.rows is None else len(embedded.passages) / len(embedded.rows)
    return round(bytes_per_vector * vectors)


def _stored(variant: Variant, embedded: Embedded, passage_ids: list[str]) -> tuple[np.ndarray, Storage]:
    """The passages as they are read back from storage, and what that takes, measured with a FAISS file."""
    passages = embedded.passages
    ids = passage_ids if embedded.rows is None else embedded.rows.named(passage_ids)
    codec = codec_for(variant.precision, passages.shape[1], largest_value(passages, ids))
    blocks = (codec.encode(passages[start : start + BLOCK]) for start in range(0, len(passages), BLOCK))
    proposer, held = faiss_file.build(blocks, passages, codec, EXACT, seed=0)
    index = Searchable(proposer, held, codec, EXACT, EXACT_EFFORT, rows=embedded.rows)
    with tempfile.TemporaryDirectory(prefix="sharpen-") as folder:
        file = Path(folder) / faiss_file.NAME
        faiss_file.write(proposer, held, file)
        size = file.stat().st_size
    milliseconds = _latencies(index, embedded.queries)
    storage = Storage(
        _bytes_per_passage(codec.bytes_per_vector, embedded),
        size,
        round(float(np.quantile(milliseconds, 0.5)), 4),
        round(float(np.quantile(milliseconds, 0.95)), 4),
    )
    return computed(passages, codec.dimension, codec.read_back), storage


def _latencies(index: Searchable, queries: np.ndarray) -> np.ndarray:
    """Milliseconds of searches of one query each, after some that are not timed."""
    order = np.arange(WARM_UP + TIMED_QUERIES) % len(queries)
    found = []
    for row in order:
        query = np.ascontiguousarray(queries[row : row + 1], dtype=np.float32)
        started = time.perf_counter()
        index.search(query, min(TOP, len(index)))
        found.append(1000 * (time.perf_counter() - started))
    return np.array(found[WARM_UP:])


def encoding_speed(
    encoder: LazyEncoder, eval_set: EvaluationSplit, cost_per_hour: float | None
) -> dict[str, float | None]:
    """How fast a sample of passages is encoded, past every cache, and what a million of them take and cost.

    The sample is of about `TIMED_SECONDS` at most: on a slow machine more would take longer than the evaluation.

    Args:
        encoder: the model.
        eval_set: its passages, from which the sample is taken at equal steps, with their windows where they have some.
        cost_per_hour: price of the machine; None: no cost is given.
    """
    from sharpen.embeddings.encoding import encode
    from sharpen.embeddings.windows import divide

    loaded, texts, titles = encoder.load(), eval_set.passage_texts, eval_set.passage_titles
    # at equal steps, in an order in which the first ones are as mixed as all of them
    rows = np.unique(np.linspace(0, len(texts) - 1, TIMED_PASSAGES).astype(int))
    rows = np.random.default_rng(0).permutation(rows).tolist()
    with silent():
        started = time.perf_counter()
        encode(loaded, [texts[row] for row in rows[:TIMED_FIRST]], "passage")
        first = time.perf_counter() - started
        rows = rows[: max(TIMED_FIRST, int(TIMED_FIRST * TIMED_SECONDS / first))]
        sample = [texts[row] for row in rows]
        started = time.perf_counter()
        more: list[str] = []
        if encoder.settings.passage_windows != "none":
            more = divide(loaded, sample, [titles[row] for row in rows] if titles is not None else None).texts
        encode(loaded, sample + more, "passage")
        speed = len(sample) / (time.perf_counter() - started)
    hours = 1e6 / speed / 3600
    cost = None if cost_per_hour is None else round(hours * cost_per_hour, 4)
    return {
        "passages_per_second": round(speed, 2),
        "hours_per_million_passages": round(hours, 4),
        "cost_per_million_passages": cost,
        "cost_per_hour": cost_per_hour,
    }


def machine(encoder: LazyEncoder) -> dict[str, Any]:
    """Where size and speed were measured, and how."""
    import torch

    return {
        "machine": measurement.machine(),
        "threads": torch.get_num_threads(),
        "encoding_device": str(encoder.device),
        "search": f"exact, in memory, one query after the other, top {TOP}, {TIMED_QUERIES} queries after a warm-up",
    }
