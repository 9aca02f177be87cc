"""Ask an index: encode the query as its passages were encoded, search, and give the passages with their scores."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sharpen import progress
from sharpen.data.task_type import TaskType
from sharpen.embeddings import embed_texts
from sharpen.errors import InputError
from sharpen.index import faiss_file, manifest, shards
from sharpen.index.faiss_file import Searchable
from sharpen.index.manifest import Manifest
from sharpen.index.quantization import cut
from sharpen.models.encoder import Encoder
from sharpen.models.identity import weights_hash
from sharpen.store import storage

_SHOWN = (shards.TITLE, shards.TEXT, shards.WINDOW)


@dataclass(frozen=True)
class Hit:
    """A found passage; title and text are None where the index holds none.

    Where a passage has several windows, `text` is that of the best one and `window` its number, from 1.
    """

    rank: int
    score: float
    passage_id: str
    title: str | None
    text: str | None
    window: int | None = None


@dataclass(frozen=True)
class Answer:
    """The hits of a query, best first, and how long encoding and search took."""

    query: str
    hits: list[Hit]
    seconds: float

    def as_values(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class OpenIndex:
    """An index with its model loaded, ready for queries.

    Args:
        address: folder that `index` wrote.
        model: where its model is now; empty: where it was.
        prompt: name of the model's prompt that is put before queries; empty: its default.

    Attributes:
        note: a line for the user where the model has several prompts and none was chosen, else empty.

    Raises:
        InputError: the folder is no finished index, the model is not the one that made it, or has no such prompt.
        StepFailed: a file of the index is damaged.
    """

    def __init__(self, address: str, model: str = "", prompt: str = "") -> None:
        self.address = address
        self.folder, self.manifest = opened(address)
        made = self.manifest
        rows = shards.passage_rows(self.folder, made.embeddings.files)
        self.found: Searchable = faiss_file.read(
            self.folder / made.faiss.file, made.codec, made.faiss.factory, made.faiss.effort, rows
        )
        vectors = made.passages if made.vectors is None else made.vectors
        if len(self.found) != vectors:
            raise InputError(f"{address}: {made.faiss.file} holds {len(self.found):,} vectors, not {vectors:,}")
        inside = made.model.address == manifest.INSIDE
        stored = str(self.folder / manifest.MODEL_FOLDER) if inside else made.model.address
        self.encoder = _loaded(model or stored, made, address)
        self.note = _choose_prompt(self.encoder, prompt)

    def ask(self, text: str, top: int) -> Answer:
        """The best `top` passages for a query. Raises InputError when the query is empty."""
        if not text.strip():
            raise InputError("the query is empty; write what to look for")
        started = time.monotonic()
        with progress.silent():  # a bar for one query is noise, and would spoil JSON
            whole = embed_texts(self.encoder, [text], "query")
        vector = cut(np.asarray(whole), self.manifest.embeddings.dimension, normalize=self.manifest.model.normalized)
        scores, rows = self.found.search(vector, min(top, self.manifest.passages))
        texts = shards.passages_at(self.folder, self.manifest.embeddings.files, rows[0].tolist())
        hits = [
            Hit(rank, round(score, 6), passage[shards.ID], *(passage.get(name) for name in _SHOWN))
            for rank, (score, passage) in enumerate(zip(scores[0].tolist(), texts.to_dicts(), strict=True), start=1)
        ]
        return Answer(text, hits, round(time.monotonic() - started, 4))


def _choose_prompt(encoder: Encoder, name: str) -> str:
    """Let the encoder put a prompt before queries; a note where there was a choice that nobody made."""
    known = {"query": encoder.prompts["query"], **encoder.named_prompts}
    if name:
        if name not in known:
            raise InputError(f"prompt: the model has no prompt {name!r}; it has: {', '.join(known)}")
        encoder.prompts["query"] = known[name]
        return ""
    # those named by task types are no choice: a search is retrieval
    choices = {key: prompt for key, prompt in known.items() if key not in set(TaskType)}
    if len(set(choices.values())) == 1:
        return ""
    names = ", ".join(choices)
    return f"the model has several prompts ({names}); its default is put before the query; choose by --prompt NAME"


def opened(address: str) -> tuple[Path, Manifest]:
    """Local folder and manifest of a finished index, its files checked against the marker. Raises as `OpenIndex`."""
    producer = storage.read_manifest(address).producer
    if producer != manifest.PRODUCER:
        raise InputError(f"{address}: written by {producer}, not an index; name a folder of components.indexing")
    folder = storage.open_artifact(address)
    return folder, manifest.read(folder, address)


def _loaded(model: str, made: Manifest, address: str) -> Encoder:
    # a lone query is not worth a file in the cache
    encoder = Encoder.load(model, made.encoder.model_copy(update={"vector_cache": "off"}))
    if encoder.dimension != made.model.dimension:
        raise InputError(
            f"{address}: made with a model of {made.model.dimension} dimensions, {model} has {encoder.dimension}; "
            "name the index's own model, or index again"
        )
    if weights_hash(encoder) != made.model.weights_hash:
        raise InputError(
            f"{address}: made with other weights than those of {model}, whose vectors mean something else; name the "
            f"model that made it ({made.model.address}), or index again"
        )
    return encoder
