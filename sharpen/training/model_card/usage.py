"""How a trained model is used from other libraries, as code that gives the same embeddings."""

from __future__ import annotations

import json

from sharpen.data.task_type import TaskType
from sharpen.index.sizes import size_of
from sharpen.markdown import code_span
from sharpen.models.encoder import Encoder
from sharpen.models.model_config import prompt_names
from sharpen.models.pooling import T5


def usage(encoder: Encoder) -> str:
    """Code for each library, then prompts and lengths."""
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
    if encoder.prompts["query"]:
        without = ", ".join(f'`prompt_name="{kind}"`' for kind in TaskType if not kind.has_instruction)
        prompts.append(f"- Prompts are for searching passages; texts of other tasks have none: {without}.")
    lengths = (
        f"- Longest query {encoder.max_lengths['query']} tokens, longest passage {encoder.max_lengths['passage']}."
        f"{_one_limit(encoder)}"
    )
    return "\n".join(
        [
            *_code("sentence-transformers", _SENTENCE_TRANSFORMERS + _by_name(names)),
            *([] if encoder.query_model is not None or encoder.dense["passage"].configs else _other_libraries(encoder)),
            *(prompts or ["No prompt is needed."]),
            lengths,
        ]
    )


def served_usage(name: str) -> list[str]:
    """How passages are stored in the size (`served_size`) that the model was trained for; nothing for an empty one."""
    size = size_of(name)
    if size is None:
        return []
    cut = f"`truncate_dim={size.dimension}`" if size.dimension else ""
    options = [f"--truncate_dim {size.dimension}"] if size.dimension else []
    options += [f"--vector_precision {size.precision}"] if size.precision != "fp32" else []
    how = {
        "fp32": "",
        "fp16": "Numbers are halves.",
        "int8": "A number x is stored as round(127 x / m), m the largest |x| over all passages; queries stay floats.",
        "binary": '`sentence_transformers.quantization.quantize_embeddings(passages, precision="ubinary")` gives the '
        "bits; queries stay floats, and a bit counts as +1 or -1.",
    }[size.precision]
    return [
        "",
        f"It was trained to be served as {code_span(size.name)}; of other sizes its figures say nothing.",
        "",
        *([f"- Only the first {size.dimension} dimensions are stored ({cut}, which this folder says)."] if cut else []),
        *([f"- {how}"] if how else []),
        f"- An index: {code_span(' '.join(['python -m components.indexing', *options, '...']))}.",
    ]


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
    if encoder.model.config.model_type in T5:
        # FlagEmbedding would load the decoder too
        return _code("transformers", transformers.replace("AutoModel", "AutoModelForTextEncoding"))
    return [*_code("transformers", transformers), *_code("FlagEmbedding", flag)]


def _one_limit(encoder: Encoder) -> str:
    longest = max(encoder.max_lengths.values())
    if encoder.query_model is not None or min(encoder.max_lengths.values()) == longest:
        return ""
    return (
        f" A folder of one encoder knows one limit, {longest}, to which sentence-transformers cuts both: a text beyond "
        "the limit of its kind has another vector there than it had in training."
    )
