"""The text encoder: a transformers model, pooling and normalisation, loaded from and saved to a
sentence-transformers folder.

Mining, fine-tuning and evaluation use this one class, so a text has the same vector in all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging

from components.core import model_folder
from components.core.errors import InputError
from components.core.settings import EncoderSettings

Kind = Literal["query", "passage"]


class Encoder(nn.Module):
    """Texts -> embeddings.

    Attributes:
        model: the transformers encoder or decoder, in float32.
        tokenizer: its tokenizer.
        pooling: ``cls``, ``mean`` or ``last_token``.
        normalize: whether embeddings have length 1.
        prompts: text put before every ``query`` and ``passage``.
        max_lengths: longest ``query`` and ``passage`` in tokens, prompt and special tokens included.
        dimension: length d of an embedding.
        address: where `load` found it; empty if it was made otherwise.
    """

    address = ""

    def __init__(self, model: Any, tokenizer: Any, settings: EncoderSettings, facts: model_folder.Facts) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.settings = settings
        self.pooling = facts.pooling if settings.sentence_pooling_method == "auto" else settings.sentence_pooling_method
        self.normalize = settings.normalize_embeddings
        self.prompts = prompts(settings, facts)
        self.max_lengths = {
            "query": _at_most(settings.query_max_len, model, tokenizer),
            "passage": _at_most(settings.passage_max_len, model, tokenizer),
        }
        self.dimension: int = model.config.hidden_size

    @classmethod
    def load(
        cls,
        model: str,
        settings: EncoderSettings,
        *,
        device: str | torch.device | None = None,
        attn_implementation: str | None = None,
    ) -> Encoder:
        """Load a model from a folder, an ``s3://`` address or a hub id, weights in float32.

        Only safetensors are read and no code from the model's folder is run.

        Args:
            model: address of the model.
            settings: lengths, pooling, instructions and precision.
            device: where it runs; a GPU if there is one, by default.
            attn_implementation: ``sdpa``, ``eager`` ...; transformers' own choice by default.

        Raises:
            InputError: there is no model at the address, or it is of a kind that cannot be read safely.
        """
        folder = model_folder.locate(model)
        options: dict[str, Any] = {"trust_remote_code": False}
        try:
            config = AutoConfig.from_pretrained(folder, **options)
            tokenizer = AutoTokenizer.from_pretrained(folder, **options)
            if attn_implementation:
                options["attn_implementation"] = attn_implementation
            if config.model_type in _WITH_POOLER:
                # The pooler's weights are never used by an embedding: they would be trained by nothing.
                options["add_pooling_layer"] = False
            with _quiet():
                loaded = AutoModel.from_pretrained(
                    folder, config=config, dtype=torch.float32, use_safetensors=True, **options
                )
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(f"{model}: cannot be loaded as a text-embedding model: {reason}") from error
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        encoder = cls(loaded, tokenizer, settings, model_folder.read_facts(folder))
        encoder.address = model
        return encoder.to(device or default_device()).eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def tokenize(
        self, texts: Sequence[str], kind: Kind, instructions: Sequence[str | None] | None = None
    ) -> list[list[int]]:
        """Token ids of each text, with prompt and special tokens, cut to the longest length of its kind.

        Args:
            texts: what to tokenise.
            kind: decides prompt and longest length.
            instructions: an instruction for each query that goes before the encoder's own; empty or None: it has none.
        """
        if not texts:
            return []
        own = instructions or [None] * len(texts)
        encoded = self.tokenizer(
            [self._prompt(kind, instruction) + text for text, instruction in zip(texts, own, strict=True)],
            truncation=True,
            max_length=self.max_lengths[kind],
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        return encoded["input_ids"]

    def _prompt(self, kind: Kind, instruction: str | None) -> str:
        # never the word "None": a text without an instruction of its own has the encoder's prompt
        return self.settings.query_instruction_format.format(instruction, "") if instruction else self.prompts[kind]

    def pad(self, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """``input_ids`` and ``attention_mask`` (both n x longest) on the encoder's device, padded on the right.

        The right side is right for every pooling here: a causal model's real tokens do not see padding after them.
        """
        longest = max(len(row) for row in rows)
        ids = torch.full((len(rows), longest), self.tokenizer.pad_token_id or 0, dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask[index, : len(row)] = 1
        return {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embeddings (n x d, float32) of padded token ids (n x length), pooled and normalised as set."""
        with self.autocast():
            hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        embeddings = pool(hidden.float(), attention_mask, self.pooling)
        return nn.functional.normalize(embeddings, dim=-1) if self.normalize else embeddings

    def encode(self, texts: Sequence[str], kind: Kind, instructions: Sequence[str | None] | None = None) -> np.ndarray:
        """Embeddings (n x d, float32) of the texts, in their order; arguments as for `tokenize`.

        Each distinct text is encoded once; how, says `components.core.encoding`.
        """
        from components.core import encoding  # it is made for this class, and imports it

        return encoding.encode(self, texts, kind, instructions)

    def save(self, folder: Path) -> None:
        """Write a sentence-transformers folder that gives the same embeddings in sentence-transformers."""
        folder.mkdir(parents=True, exist_ok=True)
        with _quiet():
            self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        facts = model_folder.Facts(self.pooling, self.normalize, dict(self.prompts))
        longest = max(self.max_lengths.values())
        model_folder.write_facts(folder, facts, dimension=self.dimension, max_seq_length=longest)

    def autocast(self) -> Any:
        """The arithmetic that `forward` computes in."""
        if use_bf16(self.settings.precision, self.device):
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars and its table of weights that an encoder has no use for (a pooler, a head)."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


# Model types whose class takes `add_pooling_layer`.
_WITH_POOLER = frozenset(
    {"bert", "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "data2vec-text", "ernie", "mpnet"}
)


def prompts(settings: EncoderSettings, facts: model_folder.Facts) -> dict[str, str]:
    """The text before every query and passage: the settings' instruction in its format, else the model's own prompt."""

    def one(instruction: str | None, template: str, own: str) -> str:
        if instruction is None:
            return own
        return template.format(instruction, "") if instruction else ""

    return {
        "query": one(
            settings.query_instruction_for_retrieval, settings.query_instruction_format, facts.prompts.get("query", "")
        ),
        "passage": one(
            settings.passage_instruction_for_retrieval,
            settings.passage_instruction_format,
            facts.prompts.get("passage", ""),
        ),
    }


def pool(hidden: Tensor, attention_mask: Tensor, pooling: str) -> Tensor:
    """One vector a text (n x d) from token vectors (n x length x d); padding (mask 0) never counts, on either side."""
    if pooling == "mean":
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    if pooling == "cls":
        return hidden[rows, attention_mask.argmax(dim=1)]
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    return hidden[rows, (attention_mask * positions).argmax(dim=1)]


def micro_batches(lengths: Sequence[int], budget: int) -> list[tuple[int, int]]:
    """Cut rows, sorted from long to short, into (start, end) slices of at most `budget` tokens with padding.

    Args:
        lengths: tokens of each row, descending; the first row of a slice sets the width of all its rows.
        budget: most tokens of a slice; a single longer row makes a slice of its own.
    """
    slices, start = [], 0
    while start < len(lengths):
        end = min(len(lengths), start + max(1, budget // max(1, lengths[start])))
        slices.append((start, end))
        start = end
    return slices


def default_device() -> torch.device:
    """This process's GPU if there is one, else the CPU."""
    if torch.cuda.is_available():
        import os

        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether the encoder computes in bf16: as asked, or where the hardware has fast bf16 matrix products."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def _at_most(wanted: int, model: Any, tokenizer: Any) -> int:
    """The asked length, or the longest that the model can take (its position table, less RoBERTa's offset)."""
    limits = [wanted]
    if tokenizer.model_max_length and tokenizer.model_max_length < 10**6:
        limits.append(tokenizer.model_max_length)
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions:
        offset = (model.config.pad_token_id or 0) + 1 if "roberta" in model.config.model_type else 0
        limits.append(positions - offset)
    return min(limits)


def weights_hash(encoder: Encoder) -> str:
    """SHA-256 (hex) of the weights by name: two models with equal vectors for all texts of equal settings agree."""
    import hashlib

    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    digest.update(json.dumps([encoder.pooling, encoder.normalize, encoder.prompts]).encode())
    return digest.hexdigest()
