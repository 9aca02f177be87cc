"""Models that are merged: their files, and whether they are of one kind."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from sharpen.merging.errors import NotMergeable
from sharpen.models import architecture, loading, model_check, model_config, model_hub, model_usage
from sharpen.models.model_usage import describe_windows
from sharpen.models.weights import WeightFiles
from sharpen.store import local_store

logger = logging.getLogger(__name__)

# What of a configuration decides no embedding.
_NO_PART = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures", "use_cache"}
_NO_PART |= {"id2label", "label2id", "gradient_checkpointing", "problem_type", "return_dict", "tie_word_embeddings"}
# of T5 the encoder alone is used, and its class says so
_NO_PART |= {"is_encoder_decoder"}


@dataclass(frozen=True)
class Source:
    """A model that is merged.

    Attributes:
        address: as the user named it.
        folder: where its files are here.
        towers: kind of text -> folder of its transformer.
        dense: kind of text -> what follows its pooling.
        usage: how it embeds texts, in the form of `model_usage`; what its folder does not say is not there.
    """

    address: str
    folder: Path
    towers: Mapping[str, Path]
    dense: Mapping[str, tuple[architecture.DenseConfig, ...]]
    usage: Mapping[str, Any]

    @classmethod
    def open(cls, address: str) -> Source:
        """Bring a model here, and read what its folder says.

        Raises:
            InputError: there is none, or its files cannot be read.
        """
        folder = model_hub.resolve_model(address)
        facts = architecture.read_architecture(folder)
        towers = {kind: folder / path for kind, path in facts.towers.items()}
        dimension = loading.embedding_size(folder, address)
        return cls(address, folder, towers, facts.dense, _usage(address, facts, dimension))

    def facts(self, role: str) -> dict[str, Any]:
        """What merging.json says of it, which is `base` or `tuned`; hashes (SHA-256, hex) are of its weight files."""
        hashes = [local_store.sha256_of(path) for path in self.weight_files]
        return {"role": role, "address": self.address, "weights_sha256": hashes}

    def tower(self, kind: str) -> Path:
        """The transformer of a kind of text; where one serves all, that one."""
        return self.towers.get(kind, self.towers["passage"])

    def dense_modules(self, kind: str) -> tuple[architecture.DenseConfig, ...]:
        """What follows the pooling of a kind of text."""
        return self.dense.get(kind if kind in self.towers else "passage", ())

    @property
    def weight_files(self) -> list[Path]:
        """All files with weights."""
        towers = [(tower, model_check.weight_files(self.address, tower)) for tower in self.towers.values()]
        dense = [
            self.folder / module.path / model_check.WEIGHTS for modules in self.dense.values() for module in modules
        ]
        return [*(tower / name for tower, names in towers for name in names), *dense]

    def weights(self, kind: str, names: Sequence[str], scratch: Path) -> WeightFiles:
        """The weights of a tower under the names that Sharpen saves them by.

        Args:
            kind: of the tower.
            names: that are needed.
            scratch: folder for a copy of a model whose files call its weights otherwise, which is loaded whole.
        """
        found = WeightFiles.of_folder(self.address, self.tower(kind))
        if set(names) <= found.files.keys():
            return found
        copy = Path(mkdtemp(dir=scratch))
        with loading.quiet():
            loading.load_transformer(self.tower(kind), self.address, ["sdpa", "eager"]).save_pretrained(copy)
        return WeightFiles.of_folder(self.address, copy)


def check_compatible(base: Source | None, tuned: Sequence[Source]) -> list[str]:
    """Whether models can be merged: one architecture, one tokenizer, one pooling; tuned ones also in how they are used.

    Args:
        base: that they were tuned from; None: it takes no part.
        tuned: the models; the merged one is used as the first of them.

    Returns:
        A sentence for each way in which the base is used otherwise than the tuned models.

    Raises:
        NotMergeable: a line for each that does not fit the first.
    """
    first, faults, notes = tuned[0], [], []
    for other in [*tuned[1:], *([base] if base else [])]:
        same = f"{first.address} and {other.address}"
        if other.towers.keys() != first.towers.keys() and other is not base:
            faults.append(f"{same}: one has two towers and the other one; merge models of the same form")
            continue
        faults += [f"{same}: {line}" for kind in first.towers for line in _differences(first, other, kind)]
        for name in model_usage.DECISIVE:
            # what only one of the folders says is no difference
            values = [one.usage[name] for one in (first, other) if name in one.usage]
            if len(values) < 2 or values[0] == values[1]:
                continue
            differs = f"{name.replace('_', ' ')} {_shown(values[0])} and {_shown(values[1])}"
            if other is base and name != "pooling":
                notes.append(f"the base model is used otherwise ({differs}); the merged model as the tuned one")
            else:
                faults.append(f"{same}: {differs}; merge models that are used alike")
    if faults:
        raise NotMergeable(faults)
    return notes


def _differences(first: Source, other: Source, kind: str) -> list[str]:
    """What of two towers cannot be merged."""
    configs, vocabularies = [], []
    for source in (first, other):
        with loading.readable(source.address):
            folder = source.tower(kind)
            configs.append(AutoConfig.from_pretrained(folder, trust_remote_code=False).to_dict())
            vocabularies.append(AutoTokenizer.from_pretrained(folder, trust_remote_code=False).get_vocab())
    one, two = configs
    # what only one of two writers states is no difference
    decisive = {name for name in one.keys() & two.keys() if name not in _NO_PART and "dropout" not in name}
    differing = sorted(name for name in decisive if one[name] != two[name])
    lines = [
        f"{name} of their configurations is {one[name]} and {two[name]}; merge models that were tuned from one base"
        for name in differing[:3]
    ]
    forms = [[replace(module, path="") for module in one.dense_modules(kind)] for one in (first, other)]
    if forms[0] != forms[1]:
        lines.append("their Dense modules differ in number or form; merge models that were tuned from one base")
    if vocabularies[0] != vocabularies[1]:
        lines.append("their tokenizers have different vocabularies; merge models that share one")
    return lines


def _shown(value: Any) -> str:
    """A part of a usage, as a sentence has it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {json.dumps(part, ensure_ascii=False)}" for name, part in value.items()) or "none"
    return "none" if value in (None, "") else str(value)


def _usage(address: str, facts: architecture.Architecture, dimension: int) -> dict[str, Any]:
    """How a model of a `dimension` embeds texts, as far as its folder says."""
    of_sharpen = model_config.read(address)
    if of_sharpen is not None:
        return {
            "prompts": {"query": of_sharpen.query_prompt, "passage": of_sharpen.passage_prompt},
            "query_prompts": of_sharpen.source_prompts,
            "max_lengths": {"query": of_sharpen.query_max_len, "passage": of_sharpen.passage_max_len},
            "windows": describe_windows(
                of_sharpen.passage_windows, of_sharpen.window_overlap, of_sharpen.passage_max_len
            ),
            "pooling": of_sharpen.pooling,
            "normalize": of_sharpen.normalize,
            "dimension": of_sharpen.dimension,
        }
    if not facts.embedder:
        return {"dimension": dimension}
    kinds = ("query", "passage")
    lengths = {kind: facts.max_lengths[kind] for kind in kinds if facts.max_lengths.get(kind)}
    return {
        "prompts": {kind: facts.prompts.get(kind, "") for kind in kinds},
        **({"max_lengths": lengths} if len(lengths) == len(kinds) else {}),
        # no other format knows of windows
        "windows": None,
        **({"pooling": facts.pooling} if facts.pooling else {}),
        "normalize": facts.normalize,
        "dimension": dimension,
    }
