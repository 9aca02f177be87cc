"""Where candidates come from besides the mining model: what the user named, checked early and ranked one by one.

Each source ranks the corpus for all queries before the next one starts, into a file of row numbers, so that never more
than one index or one model's vectors are held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sharpen.embeddings import LazyEncoder
from sharpen.errors import InputError
from sharpen.index.ann import chosen_factory
from sharpen.index.exact import NO_PASSAGE
from sharpen.index.exact_device import gpu_of
from sharpen.index.settings import Bm25Language
from sharpen.mining.candidates.files import RankedFile
from sharpen.mining.corpus import MiningCorpus
from sharpen.mining.rankings import MinerEmbeddings, approximated, embed, search_facts
from sharpen.mining.settings import BM25, FILE, MODEL, MiningSettings
from sharpen.models import model_hub
from sharpen.progress import progress
from sharpen.settings import EncoderSettings


class Source(Protocol):
    """Something that ranks the corpus for every query."""

    def ranked(self, pool: MiningCorpus, depth: int) -> Iterator[np.ndarray]:
        """For each query in turn, int64 (depth,): rows of distinct passages, best first; -1 after the last."""
        ...


@dataclass(frozen=True)
class Lexical:
    """BM25; `language` as in the settings."""

    language: Bm25Language

    def ranked(self, pool: MiningCorpus, depth: int) -> Iterator[np.ndarray]:
        """Index the corpus and search it; passages that share no word with the query are not ranked."""
        from sharpen.index.lexical import Bm25  # only this source needs bm25s

        for best, _ in Bm25(pool.passages, self.language).ranked(pool.queries, depth):
            row = np.full(depth, NO_PASSAGE, dtype=np.int64)
            row[: len(best)] = best
            yield row


@dataclass(frozen=True)
class OtherModel:
    """Another embedding model, with its own pooling and prompts; lengths, precision and index are the mining model's.

    `facts` says how it was searched, once it was.
    """

    address: str
    encoder: EncoderSettings
    settings: MiningSettings
    facts: dict[str, Any] = field(default_factory=dict)

    def ranked(self, pool: MiningCorpus, depth: int) -> Iterator[np.ndarray]:
        """Encode with the model and search."""
        encoder = LazyEncoder.open(self.address, self.encoder)
        factory = chosen_factory(self.settings.index, self.settings.exact_up_to, len(pool.passages), encoder.dimension)
        queries, passages = embed(encoder, pool, self.address, None)
        encoder.unload()
        index = approximated(queries, passages.vectors, depth, factory, self.settings.seed)
        vectors = MinerEmbeddings(queries, passages.vectors, index, gpu_of(encoder.device), passages.rows)
        self.facts.update(search_facts(vectors.approximate))
        with progress(f"Searching with {self.address}", len(vectors.queries), "queries") as reporter:
            for found in vectors.nearest(depth):
                yield from found.indices
                reporter.advance(len(found.indices))


def open_sources(
    settings: MiningSettings, encoder: EncoderSettings, pool: MiningCorpus
) -> tuple[dict[str, Source], list[str]]:
    """The other sources of `settings` for the `pool`, computed as `encoder` says, and notices of what is unused.

    Raises:
        InputError: a file or model that is not there or cannot be read, or an index that cannot be made of a model's
            vectors; nothing was computed yet.
    """
    sources: dict[str, Source] = {}
    notices: list[str] = []
    for name in settings.candidate_sources:
        kind, _, address = name.partition(":")
        if kind == BM25:
            sources[name] = Lexical(settings.bm25_language)
        elif kind == FILE:
            sources[name] = file = RankedFile(address, pool)
            notices += file.notices
        elif kind == MODEL and address:
            _check_model(address, settings, pool)
            defaults = {"sentence_pooling_method": "auto"} | dict.fromkeys(_INSTRUCTIONS)
            sources[name] = OtherModel(address, encoder.model_copy(update=defaults), settings)
    return sources, notices


def _check_model(address: str, settings: MiningSettings, pool: MiningCorpus) -> None:
    """Whether there is a model, and its vectors fit into the index of the settings."""
    from sharpen.models.loading import embedding_size  # and with it transformers

    dimension = embedding_size(model_hub.resolve_model(address), address)
    try:
        chosen_factory(settings.index, settings.exact_up_to, len(pool.passages), dimension)
    except InputError as error:
        raise InputError(f"{MODEL}:{address}, {dimension} dimensions: {fault}" for fault in error.faults) from None


_INSTRUCTIONS = ("query_instruction_for_retrieval", "passage_instruction_for_retrieval")


def searched(sources: Mapping[str, Source]) -> dict[str, dict[str, Any]]:
    """How each other embedding model was searched, for the report."""
    return {name: source.facts for name, source in sources.items() if isinstance(source, OtherModel)}


def rank_all(sources: Mapping[str, Source], pool: MiningCorpus, depth: int, folder: Path) -> dict[str, np.ndarray]:
    """The ranking of each source for `pool`, int32 (queries, depth), memory-mapped from files in `folder`."""
    rankings = {}
    for number, (name, source) in enumerate(sources.items()):
        shape = (len(pool.query_ids), depth)
        table = np.lib.format.open_memmap(folder / f"source-{number}.npy", mode="w+", dtype=np.int32, shape=shape)
        for row, passages in enumerate(source.ranked(pool, depth)):
            table[row] = passages
        table.flush()
        rankings[name] = table
    return rankings
