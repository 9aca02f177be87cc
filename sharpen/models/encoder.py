"""The text encoder: one transformers model or two, pooling and normalisation, loaded from and saved to a
sentence-transformers folder.

Mining, fine-tuning and evaluation use this one class, so a text has the same vector in all of them.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sharpen.data.text_type import TextType
from sharpen.hardware.device import default_device, use_bf16
from sharpen.models import architecture, attention, model_config, model_hub, tokenizing
from sharpen.models.dense import DenseLayers
from sharpen.models.loading import load_transformer, quiet, shared_tokenizer
from sharpen.models.micro_batches import padded
from sharpen.models.pooling import chosen_pooling, is_causal, pool
from sharpen.models.prompts import prompts
from sharpen.settings import EncoderSettings

Instructions = Sequence[str | None] | None


class Encoder(nn.Module):
    """Texts -> embeddings.

    Args:
        towers: transformers models by kind; ``passage`` alone serves both.
        dense: the Dense modules of each tower.
        tokenizer, settings: of both towers.
        facts: what the model's folder says of its pooling, prompts and lengths.
        source: its address, for messages.

    Attributes:
        model: the transformers encoder or decoder, in float32; with two towers that of passages.
        query_model: the tower of queries, or None: queries go through `model` too.
        dense: what follows the pooling in each tower, by kind.
        tokenizer: the tokenizer of both.
        pooling: ``cls``, ``mean`` or ``last_token``.
        normalize: whether embeddings have length 1.
        prompts: text put before every ``query`` and ``passage``.
        named_prompts: name -> another text that may be put before a query, such as that of a task.
        source_prompts: `ModelConfig.source_prompts`, which training sets.
        max_lengths: longest ``query`` and ``passage`` in tokens, prompt and special tokens included.
        dimension: length d of an embedding.
        address: where `load` found it; empty if it was made otherwise.
        sharded: each process of a training has a shard of the weights; autocast must not keep whole ones.
    """

    address, sharded = "", False

    def __init__(
        self,
        towers: Mapping[str, Any],
        dense: Mapping[str, DenseLayers],
        tokenizer: Any,
        settings: EncoderSettings,
        facts: architecture.Architecture,
        source: str = "model",
    ) -> None:
        super().__init__()
        self.model: Any = towers["passage"]
        self.query_model: Any = towers.get("query")
        self.dense: Any = nn.ModuleDict(dense)
        self.tokenizer = tokenizer
        self.settings = settings
        causal = is_causal(self.model)
        requested, kind = settings.sentence_pooling_method, self.model.config.model_type
        self.pooling = chosen_pooling(requested, facts.pooling, causal=causal, model_type=kind)
        self.normalize = settings.normalize_embeddings
        self.prompts = prompts(settings, facts)
        self.named_prompts = dict(facts.named_prompts)
        self.source_prompts: dict[str, list[str]] = {}
        for tower in towers.values():
            tokenizing.check_vocabulary(tokenizer, tower, source)
        tokenizing.ensure_pad_token(tokenizer, source)
        if settings.add_eos_token or (
            settings.add_eos_token is None and self.pooling == "last_token" and causal and not facts.embedder
        ):
            tokenizing.ensure_eos(tokenizer, source)
        self.max_lengths = {
            "query": tokenizing.longest(settings.query_max_len, self.model, tokenizer),
            "passage": tokenizing.longest(settings.passage_max_len, self.model, tokenizer),
        }
        tokenizing.check_lengths(tokenizer, self.max_lengths, settings, self.prompts["passage"])
        self.dimension: int = facts.dimension({kind: one.config.hidden_size for kind, one in towers.items()}, source)

    @classmethod
    def load(
        cls,
        model: str,
        settings: EncoderSettings,
        *,
        device: str | torch.device | None = None,
        training: bool = False,
        prepare: Callable[[Any], None] | None = None,
    ) -> Encoder:
        """Load a model from a folder, an ``s3://`` address or a hub id, weights in float32.

        Only safetensors are read and no code from the model's folder is run.

        Args:
            model: address of the model.
            settings: lengths, pooling, instructions, precision and attention.
            device: where it runs; a GPU if there is one, by default.
            training: whether it will be trained, which decides the attention on a CPU.
            prepare: changes each transformers model before it goes to the device.

        Raises:
            InputError: there is no model at the address, or it is of a kind that cannot be read safely.
        """
        folder = model_hub.resolve_model(model)
        facts = architecture.read_architecture(folder, settings.sentence_pooling_method)
        chosen = torch.device(device or default_device())
        implementations = attention.suitable_implementations(settings, chosen, training=training)
        load = functools.partial(load_transformer, source=model, implementations=implementations, prepare=prepare)
        towers = {kind: load(folder / path) for kind, path in facts.towers.items()}
        tokenizer = shared_tokenizer([folder / path for path in facts.towers.values()], model)
        dense = {kind: DenseLayers.load(folder, facts.dense.get(kind, ())) for kind in towers}
        encoder = cls(towers, dense, tokenizer, settings, facts, model).to(chosen).eval()
        encoder.address = model
        encoder._verify_attention()
        return encoder

    @property
    def towers(self) -> dict[TextType, Any]:
        """The distinct models by the kind of text that they encode; one for all is of the kind ``passage``."""
        return (
            {"passage": self.model} if self.query_model is None else {"passage": self.model, "query": self.query_model}
        )

    def set_tower(self, kind: TextType, tower: Any) -> None:
        """Replace the tower of a kind, or add it."""
        setattr(self, "query_model" if kind == "query" else "model", tower)

    def untie(self) -> None:
        """Give queries a tower of their own, equal to that of passages so far."""
        self.set_tower("query", copy.deepcopy(self.model))
        self.dense["query"] = copy.deepcopy(self.dense["passage"])

    @property
    def attention(self) -> str:
        """The attention implementation in use, as transformers names it."""
        return str(self.model.config._attn_implementation)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def tokenize(
        self, texts: Sequence[str], kind: TextType, instructions: Instructions = None, prompt: str | None = None
    ) -> list[list[int]]:
        """Token ids of each text, with prompt and special tokens, cut to the longest length of its kind.

        Args:
            texts: what to tokenise.
            kind: decides prompt and longest length.
            instructions: an instruction for each query that goes before the encoder's own; empty or None: it has none.
            prompt: before every text, in place of all others.

        Returns:
            At least one token a text: where a tokenizer makes none of an empty text, that of padding.
        """
        if not texts:
            return []
        given = instructions or [None] * len(texts)
        encoded = self.tokenizer(
            [self._prompt(kind, one, prompt) + text for one, text in zip(given, texts, strict=True)],
            truncation=True,
            max_length=self.max_lengths[kind],
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        # A text without any token would have no vector.
        return [ids or [self.tokenizer.pad_token_id] for ids in encoded["input_ids"]]

    def query_prompt(self, instruction: str | None) -> str:
        """The text before a query that brings an instruction, or none."""
        return self._prompt("query", instruction)

    def _prompt(self, kind: TextType, instruction: str | None, fixed: str | None = None) -> str:
        # never the word "None": a text without an instruction of its own has the encoder's prompt
        usual = self.settings.query_instruction_format.format(instruction, "") if instruction else self.prompts[kind]
        return usual if fixed is None else fixed

    def pad(self, rows: Sequence[Sequence[int]], side: str = "right") -> dict[str, Tensor]:
        """``input_ids`` and ``attention_mask`` (both n x width) on the encoder's device, padded on a side.

        The right side is right for every model: a causal model's real tokens do not see padding after them, and
        absolute positions begin with the text. Padding on the left is right for models with relative positions.
        """
        ids, mask = padded(rows, self.tokenizer.pad_token_id, max(self.max_lengths.values()), side)
        return {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}

    def forward(self, input_ids: Tensor, attention_mask: Tensor, kind: TextType | None = None) -> Tensor:
        """Embeddings (n x d, at least float32) of padded token ids (n x length), pooled and normalised as set.

        Args:
            input_ids, attention_mask: see `pad`.
            kind: whether they are queries or passages; only two towers need to know.
        """
        if kind is None and self.query_model is not None:
            raise ValueError("an encoder of two towers must know the kind of its texts")
        tower: TextType = kind if kind is not None and kind in self.towers else "passage"
        # a mask that hides nothing takes time; to look at it on a GPU would take more
        mask = None if self.device.type == "cpu" and bool(attention_mask.all()) else attention_mask
        with self.autocast():
            states = self.towers[tower](input_ids=input_ids, attention_mask=mask).last_hidden_state
        states = states if states.dtype == torch.float64 else states.float()
        # Dense modules compute as in sentence-transformers, whatever precision surrounds this
        with torch.autocast(self.device.type, enabled=False):
            embeddings = self.dense[tower](pool(states, attention_mask, self.pooling))
        return nn.functional.normalize(embeddings, dim=-1) if self.normalize else embeddings

    def save(self, folder: Path) -> None:
        """Write a sentence-transformers folder that gives the same embeddings in sentence-transformers."""
        config = self.as_config()
        towers, dense = architecture.module_folders({kind: self.dense[kind].configs for kind in self.towers})
        facts = architecture.Architecture(
            self.pooling,
            True,
            self.normalize,
            self.prompts,
            towers,
            self.named_prompts | model_config.prompt_names(config) | model_config.task_prompts(config.query_prompt),
            dense=dense,
        )
        side = self._padding_side()
        for kind, tower in self.towers.items():
            tower_folder = folder / facts.towers[kind]
            tower_folder.mkdir(parents=True, exist_ok=True)
            with quiet():
                tower.save_pretrained(tower_folder)
            tokenizing.save(self.tokenizer, tower_folder, padding_side=side)
            self.dense[kind].save(folder, dense[kind])
        token_size = self.model.config.hidden_size
        architecture.write_architecture(folder, facts, token_size=token_size, max_lengths=self.max_lengths)
        config.write(folder)

    @property
    def precision(self) -> Literal["fp32", "bf16"]:
        """The arithmetic that `forward` computes in."""
        return "bf16" if use_bf16(self.settings.precision, self.device) else "fp32"

    def as_config(self) -> model_config.ModelConfig:
        """How this encoder embeds texts, as its folder says it."""
        return model_config.ModelConfig.checked(
            {
                "query_max_len": self.max_lengths["query"],
                "passage_max_len": self.max_lengths["passage"],
                "pooling": self.pooling,
                "normalize": self.normalize,
                "dimension": self.dimension,
                "precision": self.precision,
                "query_prompt": self.prompts["query"],
                "passage_prompt": self.prompts["passage"],
                "query_instruction_format": self.settings.query_instruction_format,
                "source_prompts": self.source_prompts,
                **{name: getattr(self.settings, name) for name in model_config.WINDOW_FIELDS},
            }
        )

    def _padding_side(self) -> str:
        """The tokenizer's own side, if padding on it leaves embeddings as they are with this model, else the right."""
        if self.tokenizer.padding_side == "right" or self.pooling == "cls":
            return "right"
        left, right = (self._probe("passage", side).double() for side in ("left", "right"))
        agreement = nn.functional.cosine_similarity(left, right, dim=-1).min().item()
        exact = not use_bf16(self.settings.precision, self.device)
        return "left" if agreement >= (1 - 1e-6 if exact else attention.AGREEMENT) else "right"

    def _verify_attention(self) -> None:
        for kind, tower in self.towers.items():
            attention.verify_or_fallback(tower, functools.partial(self._probe, kind))

    def _probe(self, kind: TextType, side: str = "right") -> Tensor:
        """Embeddings of texts of very different lengths, in one batch."""
        was_training = self.training
        self.eval()
        with torch.inference_mode():
            embeddings = self(**self.pad(self.tokenize(attention.probes(self.model.config), kind), side), kind=kind)
        self.train(was_training)
        return embeddings

    def autocast(self) -> Any:
        """The arithmetic that `forward` computes in."""
        if use_bf16(self.settings.precision, self.device):
            return torch.autocast(self.device.type, dtype=torch.bfloat16, cache_enabled=not self.sharded)
        return nullcontext()
