"""manifest.json: what an index holds, and all that a program needs to ask it the right way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import faiss
from pydantic import BaseModel, ConfigDict, ValidationError

from sharpen.embeddings import LazyEncoder
from sharpen.errors import InputError
from sharpen.index.ann import Effort
from sharpen.index.quantization import Codec
from sharpen.index.settings import Precision
from sharpen.settings import EncoderSettings

NAME = "manifest.json"
PRODUCER = "indexing"
# Folder of the index with a copy of its model, and what is then the model's address.
MODEL_FOLDER = "model"
INSIDE = f"./{MODEL_FOLDER}"
FORMAT_VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(_Part):
    """The model that encoded the passages, and how a query must be encoded.

    Attributes:
        address: where it was; `INSIDE`: in the index itself.
        weights_hash: `ModelIdentity.model`: a model with another one cannot embed queries.
        dimension: length D of its whole embeddings.
        pooling, normalized: how token vectors became one vector, and whether that has length 1.
        prompts, max_lengths: by kind, ``query`` and ``passage``: text put before, and longest text in tokens.
        encoder: the settings that it was loaded with.
    """

    address: str
    weights_hash: str
    dimension: int
    pooling: str
    normalized: bool
    prompts: dict[str, str]
    max_lengths: dict[str, int]
    encoder: dict[str, Any]


class Shard(_Part):
    """One Parquet file and its number of rows."""

    name: str
    rows: int


class Embeddings(_Part):
    """The stored vectors.

    Attributes:
        precision, dimension, scale: the codec; `scale` is what one step of an int8 code is worth, else 0.
        formula: how a code is read back, in words.
        columns: name -> type of the Parquet columns.
        files: the shards in the order of their rows.
    """

    precision: str
    dimension: int
    scale: float
    formula: str
    columns: dict[str, str]
    files: list[Shard]


class Faiss(_Part):
    """The FAISS file: its factory string (``exact``: none), metric, and how hard it must be searched."""

    file: str
    factory: str
    metric: str
    effort: Effort
    version: str


class Manifest(_Part):
    """manifest.json.

    Attributes:
        quality: what `quality.measure` found; None when there was no query.
        data, data_fingerprint: where the passages were, and a hash of them.
        passages: how many.
        vectors: how many there are of them, where a passage may have several (`EncoderSettings.passage_windows` max).
    """

    format_version: int
    model: Model
    data: str
    data_fingerprint: str
    passages: int
    vectors: int | None = None
    embeddings: Embeddings
    faiss: Faiss
    quality: dict[str, Any] | None
    settings: dict[str, Any]
    code_version: str

    @property
    def codec(self) -> Codec:
        """How the codes are read back."""
        stored = self.embeddings
        return Codec(stored.precision, stored.dimension, stored.scale)  # type: ignore[arg-type]

    @property
    def encoder(self) -> EncoderSettings:
        """The settings with which a query must be encoded."""
        return EncoderSettings.checked(self.model.encoder)

    def write(self, folder: Path) -> None:
        """Write the file."""
        text = json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=2, allow_nan=False)
        (folder / NAME).write_text(text + "\n", encoding="utf-8")


def model_facts(encoder: LazyEncoder, address: str) -> Model:
    """What the manifest says of a model at an address."""
    config = encoder.config
    return Model(
        address=address,
        weights_hash=encoder.weights_hash,
        dimension=config.dimension,
        pooling=config.pooling,
        normalized=config.normalize,
        prompts={"query": config.query_prompt, "passage": config.passage_prompt},
        max_lengths={"query": config.query_max_len, "passage": config.passage_max_len},
        encoder=encoder.settings.model_dump(mode="json"),
    )


def embeddings_facts(codec: Codec, files: list[Shard], columns: dict[str, str]) -> Embeddings:
    """What the manifest says of vectors stored by a `codec` in Parquet `files` with these `columns` (name -> type)."""
    return Embeddings(
        precision=codec.precision,
        dimension=codec.dimension,
        scale=codec.scale,
        formula=codec.formula,
        columns=columns,
        files=files,
    )


def faiss_facts(file: str, codec: Codec, factory: str, effort: Effort) -> Faiss:
    """What the manifest says of the FAISS `file`; arguments as in `Faiss`."""
    metric = "hamming" if codec.precision == "binary" else "inner_product"
    return Faiss(file=file, factory=factory, metric=metric, effort=effort, version=faiss.__version__)


def read(folder: Path, address: str) -> Manifest:
    """The manifest of an opened index.

    Args:
        folder: local copy.
        address: of the index, for messages.

    Raises:
        InputError: the folder is no index, or one that this version cannot read.
    """
    try:
        values = json.loads((folder / NAME).read_text(encoding="utf-8"))
        if values.get("format_version") != FORMAT_VERSION:
            raise InputError(
                f"{address}: an index of format {values.get('format_version')}, this code reads {FORMAT_VERSION}; "
                "index again"
            )
        manifest = Manifest.model_validate(values)
        if manifest.embeddings.precision not in get_args(Precision):
            raise InputError(f"{address}: unknown precision {manifest.embeddings.precision}; index again")
        return manifest
    except FileNotFoundError:
        raise InputError(
            f"{address}: no {NAME}, so this is not an index; name a folder of components.indexing"
        ) from None
    except (ValueError, AttributeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{address}: {NAME} cannot be read ({reason}); index again") from None
