"""Tiny random models of many architectures, made on the fly with a tokenizer of their own.

Their weights are wide enough for attention and positions to matter, so that an error in either shows in the vectors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoConfig,
    AutoModel,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,  # type: ignore[attr-defined]
)

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
POSITIONS = 64
COMMON = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
OWN: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {},
    "xlm-roberta": {},
    "mpnet": {},
    "modernbert": {
        "cls_token_id": 0,
        "sep_token_id": 2,
        "global_attn_every_n_layers": 2,
        "local_attention": 8,
        "attention_dropout": 0.1,
        "mlp_dropout": 0.1,
    },
    "qwen2": {"num_key_value_heads": 2, "attention_dropout": 0.1},
    "llama": {"num_key_value_heads": 2, "attention_dropout": 0.1},
    "mistral": {"num_key_value_heads": 2, "attention_dropout": 0.1, "sliding_window": 16},
    "gpt2": {"n_inner": 48},
}
# a whole model of each, decoder included
T5 = ("t5", "mt5", "umt5")
_OF_T5: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 1}
_OF_T5 |= {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 16, "initializer_factor": 3.0}
_OF_T5 |= {"num_heads": 4, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "dropout_rate": 0.1}
ENCODERS = ("bert", "roberta", "xlm-roberta", "mpnet", "modernbert")
DECODERS = ("qwen2", "llama", "mistral", "gpt2")


def byte_bpe() -> Tokenizer:
    """Byte-level BPE that knows a few words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=300,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=SPECIAL,
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the sun and the moon and the river of stone"] * 3, trainer)
    return tokenizer


def template(single: str) -> Any:
    """A rule such as ``<s> $A </s>``."""
    return processors.TemplateProcessing(
        single=single, special_tokens=[(name, number) for number, name in enumerate(SPECIAL) if name in single]
    )


def make_model(
    folder: Path,
    kind: str,
    *,
    rule: str | None = None,
    padding_side: str = "right",
    pad: str | None = "<pad>",
    wide: bool = False,
) -> Path:
    """A plain transformers folder.

    Args:
        folder: where to.
        kind: one of `ENCODERS`, `DECODERS` or `T5`.
        rule: special tokens around a text; None: both ends for an encoder, none for a decoder, the end for T5.
        padding_side: what the tokenizer says.
        pad: its padding token, or None.
        wide: whether vectors have 64 dimensions, not 32.
    """
    tokenizer = byte_bpe()
    usual = "<s> $A </s>" if kind in ENCODERS else "$A </s>" if kind in T5 else "$A"
    rule = usual if rule is None else rule
    if rule != "$A":
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template(rule)])
    size = tokenizer.get_vocab_size()
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"} | ({"pad_token": pad} if pad else {})
    if kind in ENCODERS:
        names |= {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side=padding_side, **names).save_pretrained(folder)
    values = _OF_T5 if kind in T5 else {**COMMON, **OWN[kind]}
    if wide:
        values = values | dict.fromkeys(("d_model", "d_ff") if kind in T5 else ("hidden_size", "intermediate_size"), 64)
        values = values | ({"d_kv": 16} if kind in T5 else {})
    config = AutoConfig.for_model(kind, vocab_size=size, **values)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        AutoModel.from_config(config).save_pretrained(folder)
    return folder


def add_dense(folder: Path, *modules: dict[str, Any], pooling: Any = "mean", normalize: bool = True) -> Path:
    """Let a plain folder become one of sentence-transformers with Dense modules; that library writes it.

    Args:
        folder: of the transformer; the new one is ``dense`` in it.
        modules: what each is made with; None for an activation is none.
        pooling, normalize: what is before and after them.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        dense = [Dense(**module) for module in modules]
    parts = [Transformer(str(folder)), Pooling(COMMON["hidden_size"], pooling_mode=pooling), *dense]
    SentenceTransformer(modules=[*parts, *([Normalize()] if normalize else [])], device="cpu").save(
        str(folder / "dense"), create_model_card=False
    )
    return folder / "dense"


def save_as_qwen2(folder: Path) -> None:
    """Replace the tokenizer of a folder by one of transformers' own class for Qwen2."""
    import json

    model = json.loads(byte_bpe().to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = Qwen2Tokenizer(vocab=model["vocab"], merges=merges, eos_token="</s>", pad_token="<pad>")
    tokenizer.save_pretrained(folder)
