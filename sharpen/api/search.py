"""The public functions that use a model: load it, embed, index, search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpen.api.inputs import (
    Address,
    Data,
    Model,
    checked_settings,
    data_folder,
    encoder_of,
    inference_settings,
    model_folder,
)
from sharpen.api.results import Index, OutputFolder
from sharpen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from sharpen.data.text_type import TextType
    from sharpen.index.search import Hit
    from sharpen.models.encoder import Encoder


def load_model(model: Address, *, device: str | torch.device | None = None, **settings: Any) -> Encoder:
    """The model at an address, used as its own folder says; safetensors only, no code from it is run.

    Args:
        model: folder, ``s3://`` address or hub id.
        device: where it runs; a GPU if there is one, by default.
        settings: of `EncoderSettings`, which come before the folder's own.

    Raises:
        InputError: there is no such model, it cannot be read safely, or an unknown setting.

    Example:
        ```python
        encoder = sharpen.load_model("BAAI/bge-small-en-v1.5", query_max_len=32)
        sharpen.embed(["how far is the moon?"], encoder, kind="query")
        ```
    """
    from sharpen.models import model_config
    from sharpen.models.encoder import Encoder
    from sharpen.settings import EncoderSettings

    (checked,) = checked_settings(settings, EncoderSettings)
    return Encoder.load(str(model), model_config.resolve(str(model), checked).settings, device=device)


def embed(
    texts: Sequence[str],
    model: Model,
    *,
    kind: TextType = "passage",
    instructions: Sequence[str | None] | None = None,
    **settings: Any,
) -> np.ndarray:
    """Embeddings (n, d, float32) of n texts, in their order, long passages by the model's ``passage_windows``; of many
    texts kept in the vector cache.

    Args:
        texts: what to embed.
        model: an encoder that is used again should be loaded once, by `load_model`.
        kind: ``query`` or ``passage``, which decides prompt and longest length.
        instructions: for each query one of its own; None has the model's prompt.
        settings: of `EncoderSettings`, where the model is an address.

    Raises:
        InputError: no such model, an unknown setting, or an unusable cache.

    Example:
        ```python
        vectors = sharpen.embed(["a text", "another"], "BAAI/bge-small-en-v1.5")
        vectors @ vectors.T
        ```
    """
    from sharpen.embeddings import embed_passages, embed_texts

    if kind not in ("query", "passage"):
        raise InputError(f"kind: must be query or passage, not {kind!r}")
    if isinstance(model, str | Path):
        encoder = load_model(model, **settings)
    elif settings:
        raise InputError(f"{min(settings)}: a loaded model has its settings; load it again with others")
    else:
        encoder = encoder_of(model)
    if kind == "passage" and instructions is None:
        found = embed_passages(encoder, texts)
        if found.rows is not None:
            raise InputError(
                "encoder.passage_windows: max gives a long passage several vectors; load the model with "
                'passage_windows="mean" or "none" to embed it, or make an index'
            )
        return found.vectors
    return embed_texts(encoder, texts, kind, instructions)


def build_index(data: Data, model: Model, *, output: Address | None = None, **settings: Any) -> Index:
    """Embed a corpus and make it searchable.

    Args:
        data: a data set, its address, or that of a ``corpus.jsonl``.
        model: embeds the passages now, and queries later; one without a folder of its own is kept in the index's.
        output: folder to write; None: a temporary one that lives as long as the result.
        settings: of `IndexSettings` and `EncoderSettings`, such as ``vector_precision``.

    Raises:
        InputError: no such data or model, no passage, or settings that do not fit.

    Example:
        ```python
        index = sharpen.build_index(data, model, vector_precision="int8")
        sharpen.search(index, "how far is the moon?")
        ```
    """
    from sharpen.index import manifest
    from sharpen.index.build import index
    from sharpen.index.settings import IndexSettings
    from sharpen.settings import EncoderSettings
    from sharpen.store import storage

    indexing, encoder = checked_settings(settings, IndexSettings, EncoderSettings)
    read, base, folder = data_folder(data), model_folder(model), OutputFolder(output, "index")
    # an index that stays must not need a model that goes
    with_model = base.temporary and not folder.temporary
    how = inference_settings(model, encoder)
    index(read.address, base.address, folder.address, indexing, how, with_model=with_model)
    made = storage.read_json(storage.join(folder.address, manifest.NAME))
    dimension = made["embeddings"]["dimension"]
    embedder = storage.join(folder.address, manifest.MODEL_FOLDER) if with_model else base.address
    return Index(folder.address, (folder, base), embedder, made["passages"], dimension, made["quality"])


def search(index: Index | Address, query: str, *, top_k: int = 10, model: Address = "", prompt: str = "") -> list[Hit]:
    """The best passages for a query, best first.

    Args:
        index: what `build_index` made, or the address of such a folder, whose model is loaded for this call.
        query: what to look for.
        top_k: most hits.
        model: with an address: where the index's model is now; empty: where it was.
        prompt: with an address: name of the model's prompt for queries; empty: its default.

    Raises:
        InputError: no such index, another model than the one that made it, or an empty query.

    Example:
        ```python
        for hit in sharpen.search(index, "how far is the moon?", top_k=3):
            print(hit.score, hit.text)
        ```
    """
    from sharpen.index.search import OpenIndex

    if top_k < 1:
        raise InputError(f"top_k: must be at least 1, not {top_k}")
    if isinstance(index, Index):
        if model or prompt:
            raise InputError("model and prompt go with an index's address; this index has its model")
        return index.opened.ask(query, top_k).hits
    return OpenIndex(str(index), str(model), prompt).ask(query, top_k).hits
