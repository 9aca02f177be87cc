"""The model card of a training: Markdown with the metadata that the Hugging Face hub reads.

What a promotion adds, results above all, is in `registry`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharpen.markdown import code_span, escaped, table, with_front_matter
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings, SettingsModel
from sharpen.training.model_card.cost import CostSettings, card_emissions, cost_lines, training_cost
from sharpen.training.model_card.usage import served_usage, usage
from sharpen.training.settings import TrainingSettings
from sharpen.training.temperature_increase import TemperatureIncrease

NOT_STATED = "not stated"


def model_card(encoder: Encoder, facts: dict[str, Any]) -> str:
    """The model card (Markdown with YAML front matter, as the Hugging Face hub reads it).

    Args:
        encoder: the trained encoder.
        facts: those of training.json.
    """
    settings = facts["settings"]
    rates = CostSettings(**{name: settings.get(name) for name in CostSettings.model_fields})
    cost = training_cost(facts["seconds"], facts["world_size"], rates)
    languages = list((facts.get("data_facts") or {}).get("languages") or {})
    hub = _is_hub_id(facts["base_model"])
    head = {
        **({"language": languages} if languages else {}),
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        **({"base_model": facts["base_model"], "base_model_relation": "finetune"} if hub else {}),
        "tags": ["sentence-transformers", "sentence-similarity", "feature-extraction", "dense-retrieval", "sharpen"],
        **card_emissions(cost, facts["device"]),
    }
    sections = {
        "Intended use": intended_use(),
        "How to use it": [usage(encoder), *served_usage(settings.get("served_size") or "")],
        "Training data": data_section(facts),
        "Training": [*table(_result_rows(facts)), *_divergences(facts)],
        "Limits": limits(encoder, facts),
        "Cost and emissions": [f"- {line}" for line in cost_lines(cost, facts["world_size"], facts["device"])],
        "How to reproduce": reproduction(facts),
        "Settings": table({**settings, **{f"encoder.{name}": v for name, v in facts["encoder"].items()}}),
    }
    body = [f"# {escaped(Path(str(facts['base_model'])).name)}, fine-tuned for retrieval", "", _summary(encoder, facts)]
    for heading, lines in sections.items():
        body += ["", f"## {heading}", "", *lines]
    return with_front_matter(head, "\n".join(body) + "\n")


def _is_hub_id(model: str) -> bool:
    return model.count("/") == 1 and ":" not in model and not model.startswith((".", "/", "~"))


def _summary(encoder: Encoder, facts: dict[str, Any]) -> str:
    towers = " by two towers, one for each," if encoder.query_model is not None else ""
    dense = "".join(f"Dense {one.in_features} x {one.out_features}, " for one in encoder.dense["passage"].configs)
    length = "length 1" if encoder.normalize else "not normalised"
    return (
        f"Maps queries and passages{towers} to vectors of {encoder.dimension} dimensions ({encoder.pooling} pooling, "
        f"{dense}{length}); the inner product ranks passages for a query. "
        f"Trained from {code_span(facts['base_model'])} with Sharpen {escaped(facts['code_version'])}."
    )


def intended_use() -> list[str]:
    """What the model is for, and what it is not."""
    return [
        "- For: finding passages for queries like those that it was trained on, in a corpus like that one; as the "
        "first stage of search or of retrieval-augmented generation.",
        "- Not for: deciding about people, and not as the only filter where a passage that is missed does harm. A high "
        "score says that texts are alike, not that a passage is true.",
        "- Before use on other subjects or languages: measure it there; the results below hold for its test queries.",
    ]


def data_section(facts: Mapping[str, Any]) -> list[str]:
    """Where the training data come from, under which licence, and how many there are."""
    found = facts.get("data_facts") or {}
    licence = str(found.get("licence") or "")
    lines = [f"Licence of the data: {escaped(licence) if licence else NOT_STATED + ' (set data.licence)'}.", ""]
    sources = [one for one in found.get("sources") or [] if one.get("role") == "train"]
    if sources:
        lines += ["| source | licence | queries |", "|---|---|---:|"]
        for one in sources:
            stated = str(one.get("licence") or licence or NOT_STATED)
            lines.append(f"| {escaped(one.get('address', ''))} | {escaped(stated)} | {int(one.get('queries', 0)):,} |")
        lines.append("")
    rows = {"data": facts["data"], "fingerprint": facts["data_fingerprint"], **facts["counts"]}
    if facts.get("negatives"):
        rows["hard negatives"] = facts["negatives"]
    return [*lines, *table(rows)]


def limits(encoder: Encoder, facts: Mapping[str, Any]) -> list[str]:
    """What the model cannot be expected to do, as far as its training says it."""
    languages = list((facts.get("data_facts") or {}).get("languages") or {})
    known = ", ".join(languages) if languages else "not recorded"
    found = [
        f"A query is cut after {encoder.max_lengths['query']} tokens and a passage after "
        f"{encoder.max_lengths['passage']}: what stands later is not found.",
        f"Languages of the training data: {known}. In others it does what the base model leaves it.",
        "It has the biases of its base model and of its training data; neither was examined for bias.",
        "Scores are comparable within this model only: thresholds of another model must be set anew.",
    ]
    if facts.get("dev_ndcg_at_10") is None:
        found.append("No dev split chose between its checkpoints: the last one was taken.")
    return [f"- {line}" for line in found]


def reproduction(facts: Mapping[str, Any]) -> list[str]:
    """The command, versions, fingerprints and seed by which the training can be done again."""
    processes = facts["world_size"]
    start = "python -m" if processes == 1 else f"torchrun --nproc-per-node {processes} -m"
    options = ["--data", facts["data"], *(["--negatives", facts["negatives"]] if facts.get("negatives") else [])]
    options += ["--model", facts["base_model"], "--output", "OUTPUT"]
    for model, values in ((TrainingSettings, facts["settings"]), (EncoderSettings, facts["encoder"])):
        options += _options(model, values)
    rows = {
        "code": facts["code_version"],
        "data": facts["data_fingerprint"],
        "hard negatives": facts.get("negatives_hash"),
        "examples": facts.get("examples_hash"),
        "base model's weights": facts.get("base_weights"),
        "seed": facts["settings"].get("seed"),
        "device": facts["device"],
        "precision": facts["encoder"].get("precision"),
        **(facts.get("versions") or {}),
    }
    command = code_span(f"{start} components.finetuning {shlex.join(map(str, options))}")
    return [
        f"- Command: {command}",
        "- It gives the same model on the same data, code, versions, number of processes and kind of device; elsewhere "
        "rounding differs.",
        "",
        *table({name: value for name, value in rows.items() if value is not None}),
    ]


def _options(model: type[SettingsModel], values: Mapping[str, Any]) -> list[str]:
    """``--name value`` of every setting that is not the default."""
    options = []
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if name not in values or values[name] == default:
            continue
        value = values[name]
        text = value if isinstance(value, str) else "none" if value is None else json.dumps(value, ensure_ascii=False)
        options += [f"--{name}", text]
    return options


def _result_rows(facts: dict[str, Any]) -> dict[str, Any]:
    names = {
        "steps": "steps",
        "epochs": "epochs",
        "first_loss": "first loss",
        "last_loss": "last loss",
        "dev_ndcg_at_10_base": "nDCG@10 on dev before",
        "dev_ndcg_at_10": "nDCG@10 on dev after",
        "averaged_steps": "mean of the weights after steps",
    }
    rows = {shown: facts[name] for name, shown in names.items() if facts.get(name) is not None}
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
