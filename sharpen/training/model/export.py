"""The trained model as others find it: a sentence-transformers folder, a model card, and every fact of the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from sharpen.markdown import code_span, escaped
from sharpen.models.encoder import Encoder
from sharpen.models.model_config import prompt_names
from sharpen.training.temperature_increase import TemperatureIncrease


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
            f"# {escaped(Path(str(facts['base_model'])).name)}, fine-tuned for retrieval",
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
        f"Trained from {code_span(facts['base_model'])} with Sharpen {escaped(facts['code_version'])}."
    )


def _usage(encoder: Encoder) -> str:
    prompts = [
        f"- Every {kind} is given the prompt {code_span(json.dumps(text, ensure_ascii=False))}."
        for kind, text in encoder.prompts.items()
        if text
    ]
    names = prompt_names(encoder.as_config())
    prompts += [
        f"- Queries of the source {code_span(name)} were given {code_span(json.dumps(text, ensure_ascii=False))}: "
        f"`prompt_name={json.dumps(name)}`, or `sharpen search --prompt`."
        for name, text in names.items()
    ]
    lengths = (
        f"- Longest query {encoder.max_lengths['query']} tokens, longest passage {encoder.max_lengths['passage']}."
        f"{_one_limit(encoder)}"
    )
    return "\n".join(
        [
            *_code("sentence-transformers", _SENTENCE_TRANSFORMERS + _by_name(names)),
            *([] if encoder.query_model is not None else _other_libraries(encoder)),
            *(prompts or ["No prompt is needed."]),
            lengths,
        ]
    )


def _code(library: str, text: str) -> list[str]:
    return [f"With {library}:", "", "```python", text.strip(), "```", ""]


_SENTENCE_TRANSFORMERS = """
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
queries = model.encode_query(["..."])
passages = model.encode_document(["..."])
scores = model.similarity(queries, passages)
"""


def _by_name(names: dict[str, str]) -> str:
    if not names:
        return ""
    return f'queries = model.encode(["..."], prompt_name={json.dumps(next(iter(names)))})  # of one source\n'


def _other_libraries(encoder: Encoder) -> list[str]:
    """How the other two libraries give the same embeddings; their folders know no prompt, so it stands in the code."""
    query, passage = (json.dumps(encoder.prompts[kind], ensure_ascii=False) for kind in ("query", "passage"))
    pooled = {
        "cls": "hidden[:, 0]",
        "mean": "(hidden * mask).sum(dim=1) / mask.sum(dim=1)",
        # the last real token, whichever side is padded
        "last_token": "hidden[torch.arange(len(texts)), (mask[..., 0] * torch.arange(hidden.shape[1])).argmax(dim=1)]",
    }[encoder.pooling]
    vectors = "torch.nn.functional.normalize(vectors, dim=-1)" if encoder.normalize else "vectors"
    transformers = f"""
import torch
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
model = AutoModel.from_pretrained("path/to/this/folder").eval()


def encode(texts, prompt, longest):
    batch = tokenizer(
        [prompt + text for text in texts], padding=True, truncation=True, max_length=longest, return_tensors="pt"
    )
    with torch.inference_mode():
        hidden = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    vectors = {pooled}
    return {vectors}


queries = encode(["..."], {query}, {encoder.max_lengths["query"]})
passages = encode(["..."], {passage}, {encoder.max_lengths["passage"]})
scores = queries @ passages.T
"""
    kind = "FlagLLMModel" if encoder.pooling == "last_token" else "FlagModel"
    flag = f"""
from FlagEmbedding import {kind}

model = {kind}(
    "path/to/this/folder",
    query_instruction_for_retrieval={query if encoder.prompts["query"] else None},
    query_instruction_format="{{}}{{}}",
    pooling_method="{encoder.pooling}",
    normalize_embeddings={encoder.normalize},
)
queries = model.encode_queries(["..."], max_length={encoder.max_lengths["query"]})
passages = model.encode_corpus([{passage} + text for text in ["..."]], max_length={encoder.max_lengths["passage"]})
scores = queries @ passages.T
"""
    return [*_code("transformers", transformers), *_code("FlagEmbedding", flag)]


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
    lines = [TemperatureIncrease(**values).describe() for values in facts["temperature_increases"]]
    if not lines:
        return []
    return [
        "",
        "Training diverged, went back and went on with a higher temperature:",
        "",
        *[f"- {line}" for line in lines],
    ]


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
        lines.append(f"| {name} | {escaped(text)} |")
    return lines
