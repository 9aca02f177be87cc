"""What a cached vector depends on besides its text, as one hash: an encoder with another one never reads it."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from sharpen.data.text_type import TextType
from sharpen.embeddings.cache_metadata import source_hash
from sharpen.hardware.device import use_bf16
from sharpen.models import tokenizing
from sharpen.models.encoder import Encoder
from sharpen.models.identity import ModelIdentity, identify
from sharpen.typed_json import sha256_json

# Raised by hand when shards or keys change their form.
LAYOUT = 2
_LIBRARIES = ("torch", "transformers", "tokenizers")
_LIBRARY = Path(__file__).parents[1]
# What computes a vector from a text: two rooms whole, and of others these files.
_CODE = ("hardware/*.py", "models/**/*.py", "data/dedup.py", "embeddings/encoding.py", "embeddings/sharding.py")
# What a configuration says of where the model lies and who wrote it.
_NOT_THE_MODEL = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")


def encoder_facts(encoder: Encoder, kind: TextType, identity: ModelIdentity | None = None) -> dict[str, Any]:
    """All that decides a vector except the text and its own instruction, as values of JSON's.

    The prompt of the other kind is not in it (as it is in `ModelIdentity.model`), so that a new query instruction
    leaves the corpus' vectors valid. Neither is the size of micro-batches: it may change the last bits of a vector, no
    more. The library versions are, because evaluations record them with their figures.

    Args:
        encoder: the model.
        kind: of the texts.
        identity: of the encoder, where it is known.
    """
    return {
        "layout": LAYOUT,
        "kind": kind,
        "weights": (identity or identify(encoder)).tower(kind),
        "architecture": _architecture(encoder),
        "tokenizer": tokenizing.content_hash(encoder.tokenizer),
        "pooling": encoder.pooling,
        "normalize": encoder.normalize,
        "prompt": encoder.prompts[kind],
        "instruction_format": encoder.settings.query_instruction_format if kind == "query" else "",
        "max_length": encoder.max_lengths[kind],
        "attention": encoder.attention,
        "precision": "bf16" if use_bf16(encoder.settings.precision, encoder.device) else "fp32",
        "libraries": {name: metadata.version(name) for name in _LIBRARIES},
        "code": source_hash(sorted(file for pattern in _CODE for file in _LIBRARY.glob(pattern))),
    }


def _architecture(encoder: Encoder) -> str:
    """Of the configurations of all transformers models inside: the same weights may be used in other ways."""
    found = {}
    for name, module in encoder.named_modules():
        config = getattr(module, "config", None)
        if config is not None and hasattr(config, "to_dict"):
            values = {key: value for key, value in config.to_dict().items() if key not in _NOT_THE_MODEL}
            if values not in found.values():
                found[name] = values
    return sha256_json(found)
