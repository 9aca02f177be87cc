"""A cross-encoder: a transformers model that reads query and passage together and gives one score."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from sharpen.embeddings.encoding import TokenBudget, with_oom_retry
from sharpen.embeddings.sharding import longest_first, split_by_tokens
from sharpen.errors import InputError
from sharpen.hardware import allocator
from sharpen.hardware.device import default_device, use_bf16
from sharpen.hardware.thread_pool import map_in_threads, worker_count
from sharpen.models import model_check, model_hub
from sharpen.models.micro_batches import PAD_MULTIPLE, default_token_budget
from sharpen.settings import EncoderSettings
from sharpen.store.local_store import sha256_of

# Token ids of so many pairs are held at once.
_PAIRS_AT_ONCE = 1 << 14


class CrossEncoder:
    """Pairs of texts -> scores, without an activation function.

    Args:
        model, tokenizer: as transformers loads them.
        max_len: longest pair in tokens.
        encoder: precision, and tokens in a batch.
        identity: SHA-256 (hex) of the model's files and of all settings that its scores depend on.
        setting: the setting that names it, for messages; that of its length ends with ``_max_len``.
    """

    def __init__(
        self, model: Any, tokenizer: Any, max_len: int, encoder: EncoderSettings, identity: str, setting: str
    ) -> None:
        self.model, self.tokenizer, self.setting = model, tokenizer, setting
        self.max_len, self.precision = max_len, encoder.precision
        self.budget = TokenBudget(
            encoder.batch_tokens or default_token_budget(model.device),
            work="scoring pairs",
            single="score a single pair",
            lower=f"{setting.removesuffix('_model')}_max_len",
        )
        self.identity = identity

    @classmethod
    def load(cls, address: str, max_len: int, encoder: EncoderSettings, setting: str) -> CrossEncoder:
        """Load a model with a classification head of one or two outputs; only safetensors are read.

        Args:
            address: folder, ``s3://`` address, ``python-package:<package>/<folder>`` or hub id.
            max_len: longest pair in tokens; cut to what the model can take.
            encoder: tokens in a batch, and precision.
            setting: full name of the setting that names it, for messages.

        Raises:
            InputError: no model there, or none that scores pairs.
        """
        folder = model_hub.resolve_model(address)
        model_check.check_transformer(f"{setting}: {address}", folder)
        logging.disable_progress_bar()
        allocator.retain_freed_memory()
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            model, loading = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever is wrong with a folder from elsewhere
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(f"{setting}: {address} cannot be loaded as a cross-encoder: {reason}") from error
        if missing := sorted(loading["missing_keys"]):
            raise InputError(
                f"{setting}: {address} has no weights for {', '.join(missing[:3])}, so it is not a trained "
                "cross-encoder; name one with a classification head"
            )
        if model.config.num_labels not in (1, 2):
            raise InputError(
                f"{setting}: {address} has {model.config.num_labels} outputs; a cross-encoder for relevance has "
                "one, or two of which the second is relevance"
            )
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
            model.config.pad_token_id = tokenizer.pad_token_id
        longest = _longest(max_len, model, tokenizer)
        device = default_device()
        settings = [longest, use_bf16(encoder.precision, device)]
        files = [(p.name, sha256_of(p)) for p in sorted(folder.iterdir()) if p.suffix in (".safetensors", ".json")]
        identity = hashlib.sha256(repr((files, settings)).encode()).hexdigest()
        return cls(model.to(device).eval(), tokenizer, longest, encoder, identity, setting)

    def scores(self, queries: Sequence[str], passages: Sequence[str]) -> np.ndarray:
        """Scores float32 (n,) of the pairs: the one output, or the second less the first, which are log-odds.

        Pairs are sorted by their true token count and cut into batches of at most ``batch_tokens`` tokens, padding
        included; of fewer from then on when memory runs out.

        Raises:
            InputError: a score is not a number.
            StepFailed: not even one pair fits into the memory.
        """
        found = np.empty(len(queries), dtype=np.float32)
        for start in range(0, len(queries), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            found[part] = self._scores(list(queries[part]), list(passages[part]))
        return found

    def _scores(self, queries: list[str], passages: list[str]) -> np.ndarray:
        encoded = self.tokenizer(queries, passages, truncation="longest_first", max_length=self.max_len)
        lengths = np.fromiter(map(len, encoded["input_ids"]), np.int64, len(queries))

        def piece(batch: np.ndarray) -> Callable[[], list[tuple[np.ndarray, np.ndarray]]]:
            return lambda: list(with_oom_retry(batch, lengths, self.budget, lambda rows: self._forward(encoded, rows)))

        found = np.empty(len(lengths), dtype=np.float32)
        batches = split_by_tokens(longest_first(lengths), lengths, self.budget.tokens)
        with self._computing():
            for parts in map_in_threads(
                map(piece, batches), worker_count(self.model.device, len(batches)), self._computing
            ):
                for rows, scores in parts:
                    found[rows] = scores
        if not np.isfinite(found).all():
            raise InputError(
                f"{self.setting}: a score is not a number: its weights are damaged; try precision=fp32, then another"
            )
        return found

    def _forward(self, encoded: Mapping[str, Sequence[Any]], rows: np.ndarray) -> np.ndarray:
        batch = {name: [values[row] for row in rows] for name, values in encoded.items()}
        # no wider than the model's positions
        multiple = PAD_MULTIPLE if self.max_len % PAD_MULTIPLE == 0 else None
        padded = self.tokenizer.pad(batch, pad_to_multiple_of=multiple, return_tensors="pt").to(self.model.device)
        outputs = self.model(**padded).logits.float()
        return (outputs[:, -1] - outputs[:, 0] if outputs.shape[1] == 2 else outputs[:, 0]).cpu().numpy()

    @contextmanager
    def _computing(self) -> Iterator[None]:
        device = self.model.device
        bf16 = use_bf16(self.precision, device)
        with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            yield


def _longest(wanted: int, model: Any, tokenizer: Any) -> int:
    """The requested length, or the longest that the model can take (its position table, less RoBERTa's offset)."""
    limits = [wanted]
    if tokenizer.model_max_length and tokenizer.model_max_length < 10**6:
        limits.append(tokenizer.model_max_length)
    if positions := getattr(model.config, "max_position_embeddings", None):
        offset = (model.config.pad_token_id or 0) + 1 if "roberta" in model.config.model_type else 0
        limits.append(positions - offset)
    return min(limits)
