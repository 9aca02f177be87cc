"""What a pre-trained model's folder says of itself: ``pretraining.json`` and the model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharpen.markdown import code_span, with_front_matter


def write(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write both into the folder of the model."""
    text = json.dumps(dict(facts), indent=2, ensure_ascii=False) + "\n"
    (folder / "pretraining.json").write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(model_card(facts), encoding="utf-8")


def model_card(facts: Mapping[str, Any]) -> str:
    """The model card, Markdown with YAML front matter, for the contents of ``pretraining.json``."""
    counts, settings = facts["counts"], facts["settings"]
    name = "RetroMAE (arXiv 2205.12035)" if settings["method"] == "retromae" else "masked-language modelling"
    head = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "feature-extraction",
        "tags": ["sentence-transformers", "feature-extraction", "sharpen"],
    }
    lines = [
        "# Pre-trained encoder",
        "",
        f"{code_span(facts['base_model'])}, trained further by {name} on {counts['passages']:,} passages "
        f"({counts['tokens']:,} tokens) of {code_span(facts['data'])}: {facts['steps']:,} steps, loss "
        f"{facts['first_loss']:.3f} to {facts['last_loss']:.3f}.",
        "",
        f"It is a start for fine-tuning, with {facts['pooling']} pooling; its embeddings are not meant for search "
        "before.",
    ]
    return with_front_matter(head, "\n".join(lines) + "\n")
