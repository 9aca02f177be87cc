"""The trained model as others find it: a sentence-transformers folder, a model card, and every fact of the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sharpen.index.sizes import size_of
from sharpen.models.encoder import Encoder
from sharpen.training.model_card.sections import model_card


def write_model(folder: Path, encoder: Encoder, facts: dict[str, Any]) -> None:
    """Write weights, tokenizer, pooling, prompts, ``training.json`` and the model card into a folder.

    Args:
        folder: where to.
        encoder: the trained encoder.
        facts: what `train` found; see `train.facts`.
    """
    encoder.save(folder)
    size = size_of(facts["settings"].get("served_size") or "")
    if size is not None and size.dimension:
        _say_dimension(folder / "config_sentence_transformers.json", size.dimension)
    (folder / "training.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(model_card(encoder, facts), encoding="utf-8")


def _say_dimension(config: Path, dimension: int) -> None:
    """Let sentence-transformers cut embeddings to the dimension that is served. Sharpen's steps have it as settings."""
    values = json.loads(config.read_text(encoding="utf-8")) | {"truncate_dim": dimension}
    config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
