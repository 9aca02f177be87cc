"""Model + corpus -> index: embeddings as Parquet files, a FAISS file, a manifest, and what the storage loses."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np

from components.core import ann, storage
from components.core.ann import Effort
from components.core.encoder import Encoder, weights_hash
from components.core.errors import InputError
from components.core.place import code_version, run_id
from components.core.settings import EncoderSettings
from components.core.vectors import vectors_of
from components.indexing import faiss_file, manifest, quality, shards
from components.indexing.codes import codec_for, computed, cut, largest_value
from components.indexing.corpus import Corpus, read
from components.indexing.faiss_file import Searchable
from components.indexing.manifest import Manifest
from components.indexing.page import render_page
from components.indexing.settings import AUTO, EXACT, IndexSettings

PAGE = "README.md"
# An approximate index is measured at more ranks than are usually asked for, which is the harder question.
EFFORT_RANKS = 100


def index(data: str, model: str, output: str, settings: IndexSettings, encoder: EncoderSettings) -> storage.Marker:
    """Index a corpus and write the folder: embeddings/, index.faiss, manifest.json, README.md.

    Args:
        data: passages: any input of Sharpen, or a corpus.jsonl alone.
        model: address of the model: a folder, ``s3://``, or a hub id.
        output: address of the folder to write.
        settings: what is stored for each passage and how it is searched.
        encoder: how texts become embeddings; a query must be encoded the same way.

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
    with storage.new_folder(output, producer=manifest.PRODUCER, run_id=run_id(), rows=rows, facts=facts) as folder:
        loaded = Encoder.load(model, encoder)
        dimension = stored_dimension(settings, loaded)
        factory = chosen_factory(settings, dimension, len(corpus.passages))
        whole = vectors_of(loaded, corpus.texts, "passage")
        short = computed(whole, dimension, partial(cut, dimension=dimension, normalize=loaded.normalize))
        codec = codec_for(settings.vector_precision, dimension, largest := largest_value(short, corpus.ids))
        asked, asked_are = sample_queries(loaded, corpus, whole, settings)
        encoded = time.monotonic()

        files = shards.write(folder, corpus.passages, short, codec, texts=settings.store_texts)
        blocks = (shards.read_codes(folder, file, codec) for file in files)
        proposer, store = faiss_file.build(blocks, short, codec, factory, settings.seed)
        faiss_file.write(proposer, store, folder / faiss_file.NAME)
        short_asked = cut(asked, dimension, normalize=loaded.normalize)
        effort = chosen_effort(proposer, short_asked, short, factory, settings.seed)
        found = Searchable(proposer, store, codec, factory, effort)
        measured = None
        if settings.quality_queries:
            measured = {"asked": asked_are, **quality.measure(asked, whole, short_asked, short, largest, found)}
        facts["model_hash"] = weights_hash(loaded)
        made = Manifest(
            format_version=manifest.FORMAT_VERSION,
            model=manifest.model_facts(model, loaded, facts["model_hash"], encoder),
            data=data,
            data_fingerprint=corpus.fingerprint,
            passages=len(corpus.passages),
            embeddings=manifest.embeddings_facts(codec, files, shards.columns_of(folder, files[0])),
            faiss=manifest.faiss_facts(faiss_file.NAME, codec, factory, effort),
            quality=measured,
            settings=settings.model_dump(mode="json"),
            code_version=code_version(),
        )
        made.write(folder)
        (folder / PAGE).write_text(render_page(made), encoding="utf-8")
        seconds = {"encoding": encoded - started, "total": time.monotonic() - started}
        facts["seconds"] = {name: round(took, 2) for name, took in seconds.items()}
    return storage.read_marker(output)


def stored_dimension(settings: IndexSettings, encoder: Encoder) -> int:
    """How many dimensions are kept. Raises InputError when the model has fewer."""
    wanted = settings.truncate_dim or encoder.dimension
    if wanted > encoder.dimension:
        raise InputError(f"truncate_dim {wanted}: the model's embeddings have {encoder.dimension} dimensions")
    return wanted


def chosen_factory(settings: IndexSettings, dimension: int, passages: int) -> str:
    """``exact`` or a FAISS factory string that was checked. Raises InputError when it cannot be made."""
    if settings.index == EXACT or settings.vector_precision == "binary":
        return EXACT
    if settings.index == AUTO:
        return EXACT if passages <= settings.exact_up_to else ann.suggested_factory(passages, dimension)
    ann.check_factory(settings.index, dimension, passages)
    return settings.index


def sample_queries(
    encoder: Encoder, corpus: Corpus, passages: np.ndarray, settings: IndexSettings
) -> tuple[np.ndarray, str]:
    """Embeddings (n, D) of what the index is measured with, and what it is: sampled queries, else sampled passages."""
    if corpus.queries:
        return vectors_of(encoder, corpus.queries, "query", corpus.instructions), f"{corpus.split} queries"
    size = settings.quality_queries or ann.SAMPLED_QUERIES
    drawn = np.random.default_rng(settings.seed).permutation(len(passages))[:size]
    return np.asarray(passages[np.sort(drawn)]), "passages"


def chosen_effort(proposer: Any, queries: np.ndarray, passages: np.ndarray, factory: str, seed: int) -> Effort:
    """How hard the FAISS index must be searched; an exact one has no such knob."""
    if factory == EXACT:
        return faiss_file.EXACT_EFFORT
    return ann.measured_recall(proposer, queries, passages, EFFORT_RANKS, factory=factory, seed=seed)
