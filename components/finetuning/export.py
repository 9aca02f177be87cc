"""The trained model as others find it: a sentence-transformers folder, a model card, and every fact of the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from components.core.encoder import Encoder
from components.finetuning.softening import Softening


def write_model(folder: Path, encoder: Encoder, facts: dict[str, Any]) -> None:
    """Write weights, tokenizer, pooling, prompts, ``training.json`` and the model card into a folder.

    Args:
        folder: where to.
        encoder: the trained encoder.
        facts: what `train` found; see `train.facts`.
    """
    encoder.save(folder)
    (folder / "training.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(model_card(encoder, facts), encoding="utf-8")


def model_card(encoder: Encoder, facts: dict[str, Any]) -> str:
    """The model card (Markdown with YAML front matter, as the Hugging Face hub reads it)."""
    head = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        **({"base_model": facts["base_model"]} if _is_hub_id(facts["base_model"]) else {}),
        "tags": ["sentence-transformers", "sentence-similarity", "feature-extraction", "dense-retrieval", "sharpen"],
    }
    return "\n".join(
        [
            "---",
            yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip(),
            "---",
            "",
            f"# {Path(str(facts['base_model'])).name}, fine-tuned for retrieval",
            "",
            _summary(encoder, facts),
            "",
            "## How to use it",
            "",
            _usage(encoder),
            "",
            "## Training data",
            "",
            *_table(_data_rows(facts)),
            "",
            "## Training",
            "",
            *_table(_result_rows(facts)),
            *_divergences(facts),
            "",
            "## Settings",
            "",
            *_table({**facts["settings"], **{f"encoder.{name}": v for name, v in facts["encoder"].items()}}),
            "",
        ]
    )


def _is_hub_id(model: str) -> bool:
    return model.count("/") == 1 and ":" not in model and not model.startswith((".", "/", "~"))


def _summary(encoder: Encoder, facts: dict[str, Any]) -> str:
    towers = " by two towers, one for each," if encoder.query_model is not None else ""
    return (
        f"Maps queries and passages{towers} to vectors of {encoder.dimension} dimensions ({encoder.pooling} pooling, "
        f"{'length 1' if encoder.normalize else 'not normalised'}); the inner product ranks passages for a query. "
        f"Trained from `{facts['base_model']}` with Sharpen {facts['code_version']}."
    )


def _usage(encoder: Encoder) -> str:
    prompts = [
        f"- Every {kind} is given the prompt `{json.dumps(text, ensure_ascii=False)}`."
        for kind, text in encoder.prompts.items()
        if text
    ]
    note = "\n".join(prompts) or "No prompt is needed."
    return (
        "```python\n"
        "from sentence_transformers import SentenceTransformer\n\n"
        'model = SentenceTransformer("path/to/this/folder")\n'
        'queries = model.encode_query(["..."])\n'
        'passages = model.encode_document(["..."])\n'
        "scores = model.similarity(queries, passages)\n"
        "```\n\n"
        f"{note}\n"
        f"- Longest query {encoder.max_lengths['query']} tokens, longest passage {encoder.max_lengths['passage']}."
        f"{_one_limit(encoder)}"
    )


def _one_limit(encoder: Encoder) -> str:
    longest = max(encoder.max_lengths.values())
    if encoder.query_model is not None or min(encoder.max_lengths.values()) == longest:
        return ""
    return (
        f" A folder of one encoder knows one limit, {longest}, to which sentence-transformers cuts both: a text beyond "
        "the limit of its kind has another vector there than it had in training."
    )


def _data_rows(facts: dict[str, Any]) -> dict[str, Any]:
    return {"data": facts["data"], "fingerprint": facts["data_fingerprint"], **facts["counts"]}


def _result_rows(facts: dict[str, Any]) -> dict[str, Any]:
    names = ("steps", "epochs", "first_loss", "last_loss", "dev_ndcg_at_10_base", "dev_ndcg_at_10")
    rows = {name: facts[name] for name in names if facts.get(name) is not None}
    return rows | {
        "negatives per query": facts["negatives_per_query"],
        "processes": facts["world_size"],
        "device": facts["device"],
        "seconds": facts["seconds"],
        "queries per second": facts["queries_per_second"],
    }


def _divergences(facts: dict[str, Any]) -> list[str]:
    told = [Softening(**values).told() for values in facts["softenings"]]
    if not told:
        return []
    return ["", "Training diverged, went back and went on with a higher temperature:", "", *[f"- {t}" for t in told]]


def _table(rows: dict[str, Any]) -> list[str]:
    lines = ["| | |", "|---|---|"]
    for name, value in rows.items():
        if value is None:
            text = "unset"
        elif isinstance(value, bool):
            text = str(value).lower()
        elif isinstance(value, float):
            text = f"{value:.6g}"
        else:
            text = str(value)
        escaped = text.replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {name} | {escaped} |")
    return lines
