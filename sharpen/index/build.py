"""Model + corpus -> index: embeddings as Parquet files, a FAISS file, a manifest, and what the storage loses."""

from __future__ import annotations

import logging
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sharpen.embeddings import LazyEncoder, embed_passages, embed_texts
from sharpen.errors import InputError
from sharpen.index import ann, faiss_file, manifest, shards
from sharpen.index.ann import EXACT
from sharpen.index.corpus import Corpus, read
from sharpen.index.faiss_file import Searchable
from sharpen.index.manifest import Manifest, Shard
from sharpen.index.quantization import codec_for, computed, cut, largest_value
from sharpen.index.report.page import render_page, summary
from sharpen.index.report.quality import Embedded, measure
from sharpen.index.settings import IndexSettings
from sharpen.models import model_config
from sharpen.models.model_hub import resolve_model
from sharpen.run_context import run_id
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.version import code_version

logger = logging.getLogger(__name__)

PAGE = "report.html"
# An approximate index is measured at more ranks than are usually requested, which is the harder question.
EFFORT_RANKS = 100


def index(
    data: str, model: str, output: str, settings: IndexSettings, encoder: EncoderSettings, *, with_model: bool = False
) -> storage.Manifest:
    """Index a corpus and write the folder: embeddings/, index.faiss, manifest.json, report.html.

    Args:
        data: passages: any input of Sharpen, or a corpus.jsonl alone.
        model: address of the model: a folder, ``s3://``, or a hub id.
        output: address of the folder to write.
        settings: what is stored for each passage and how it is searched.
        encoder: how embeddings are computed. What they are, the model's own folder says, and the manifest after it;
            what is set here of that stands in for it.
        with_model: keep a copy of the model in the folder, for a model that will not stay where it is.

    Returns:
        The marker of the written folder.

    Raises:
        InputError: no such data or model, no passage, settings that do not fit the model or the corpus, an embedding
            that is not a number. Nothing is written then.
    """
    started = time.monotonic()
    corpus = read(data, settings.quality_queries, settings.seed)
    rows = {"passages": len(corpus.passages)}
    facts: dict[str, Any] = {"model": model, "data": data, "data_fingerprint": corpus.fingerprint}
    with storage.publish(output, producer=manifest.PRODUCER, run_id=run_id(), rows=rows, facts=facts) as folder:
        loaded = LazyEncoder.open(model, model_config.resolve(model, encoder).settings)
        dimension = stored_dimension(settings, loaded)
        factory = chosen_factory(settings, dimension, len(corpus.passages))
        embedded = embed(loaded, corpus, dimension, settings)
        encoded = time.monotonic()
        if embedded.rows is not None:
            factory = chosen_factory(settings, dimension, len(embedded.passages))
        files, found, largest = store(folder, embedded, factory, settings)
        facts["model_hash"] = loaded.weights_hash
        made = Manifest(
            format_version=manifest.FORMAT_VERSION,
            model=manifest.model_facts(loaded, manifest.INSIDE if with_model else model),
            data=data,
            data_fingerprint=corpus.fingerprint,
            passages=len(corpus.passages),
            vectors=None if embedded.rows is None else len(embedded.passages),
            embeddings=manifest.embeddings_facts(found.codec, files, shards.columns_of(folder, files[0])),
            faiss=manifest.faiss_facts(faiss_file.NAME, found.codec, factory, found.effort),
            quality=measure(embedded, largest, found) if settings.quality_queries else None,
            settings=settings.model_dump(mode="json"),
            code_version=code_version(),
        )
        if with_model:
            shutil.copytree(resolve_model(model), folder / manifest.MODEL_FOLDER)
        made.write(folder)
        (folder / PAGE).write_text(render_page(made), encoding="utf-8")
        facts["seconds"] = seconds = {
            "encoding": round(encoded - started, 2),
            "total": round(time.monotonic() - started, 2),
        }
    written = storage.read_manifest(output)
    size = sum(file["size"] for file in written.files)
    logger.info("\n".join([*summary(made, seconds["total"]), f"index  {output} ({size / 1e6:,.1f} MB)"]))
    return written


def stored_dimension(settings: IndexSettings, encoder: LazyEncoder) -> int:
    """How many dimensions are kept. Raises InputError when the model has fewer, or they cannot be stored so."""
    wanted = settings.truncate_dim or encoder.dimension
    if wanted > encoder.dimension:
        raise InputError(f"truncate_dim {wanted}: the model's embeddings have {encoder.dimension} dimensions")
    codec_for(settings.vector_precision, wanted, 0.0)
    return wanted


def chosen_factory(settings: IndexSettings, dimension: int, passages: int) -> str:
    """``exact`` or the FAISS string of `settings` for so many `passages` of a `dimension`. Raises InputError."""
    if settings.vector_precision == "binary":
        return EXACT
    return ann.chosen_factory(settings.index, settings.exact_up_to, passages, dimension)


def embed(encoder: LazyEncoder, corpus: Corpus, dimension: int, settings: IndexSettings) -> Embedded:
    """Embeddings by `encoder` of the `corpus`, cut to `dimension`, and of queries that `settings` measure with."""
    found = embed_passages(encoder, corpus.texts, corpus.titles)
    passages = found.vectors
    if corpus.queries:
        queries = embed_texts(encoder, corpus.queries, "query", corpus.instructions)
        described = f"{corpus.split} queries"
    else:
        size = settings.quality_queries or ann.SAMPLED_QUERIES
        drawn = np.random.default_rng(settings.seed).permutation(len(passages))[:size]
        queries, described = np.asarray(passages[np.sort(drawn)]), "passages" if found.rows is None else "windows"
    shorten = partial(cut, dimension=dimension, normalize=encoder.config.normalize)
    short = computed(passages, dimension, shorten)
    return Embedded(passages, short, queries, shorten(queries), described, corpus.table(found), found.rows)


def store(
    folder: Path, embedded: Embedded, factory: str, settings: IndexSettings
) -> tuple[list[Shard], Searchable, float]:
    """Write the Parquet files and the FAISS file.

    Args:
        folder: of the index.
        embedded: vectors and their passages.
        factory: see `chosen_factory`.
        settings: precision, seed, whether texts are stored.

    Returns:
        The Parquet files, the index as it is searched, and the largest |x| of the stored dimensions.

    Raises:
        InputError: an embedding is not a number, or cannot be stored so.
    """
    vectors = embedded.short_passages
    largest = largest_value(vectors, embedded.table[shards.ID].to_list())
    codec = codec_for(settings.vector_precision, vectors.shape[1], largest)
    files = shards.write(folder, embedded.table, vectors, codec, texts=settings.store_texts)
    blocks = (shards.read_codes(folder, file, codec) for file in files)
    proposer, held = faiss_file.build(blocks, vectors, codec, factory, settings.seed)
    faiss_file.write(proposer, held, folder / faiss_file.NAME)
    effort = faiss_file.EXACT_EFFORT
    if factory != EXACT:
        effort = ann.measured_recall(
            proposer, embedded.short_queries, vectors, EFFORT_RANKS, factory=factory, seed=settings.seed
        )
    return files, Searchable(proposer, held, codec, factory, effort, rows=embedded.rows), largest
