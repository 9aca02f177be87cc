"""Reading and checking everything that a pre-training needs; the first process of a machine reads for all of it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

import polars as pl
import torch

from sharpen.data.dataset import CORPUS
from sharpen.data.fingerprint import fingerprint
from sharpen.data.readers import read_corpus
from sharpen.data.text import passage_texts
from sharpen.distributed import ProcessGroup
from sharpen.errors import InputError
from sharpen.models import masked_lm, tokenizing
from sharpen.models.encoder import Encoder
from sharpen.models.tokenizing import special_tokens
from sharpen.pretraining.decoder import EnhancedDecoder
from sharpen.pretraining.model import PretrainingModel
from sharpen.pretraining.settings import PretrainingSettings
from sharpen.pretraining.windows import Windows, write_windows
from sharpen.settings import EncoderSettings
from sharpen.training.data.prepared import prepare, prepared_folder
from sharpen.training.data.ragged_array import in_memory
from sharpen.training.model.encoder_setup import check_checkpointing
from sharpen.training.processes import local_rank_zero_first
from sharpen.version import code_version


@dataclass(frozen=True)
class Inputs:
    """Everything that was read.

    Attributes:
        model: the encoder with what is trained beside it.
        windows: of the corpus.
        corpus_fingerprint: of the passages that were given.
    """

    model: PretrainingModel
    windows: Windows
    corpus_fingerprint: str


def read_inputs(
    data: str, model: str, settings: PretrainingSettings, encoder_settings: EncoderSettings, exchange: ProcessGroup
) -> Inputs:
    """Read corpus and model, and check that they fit the settings; arguments as for `pretrain`.

    Raises:
        InputError: they do not, or the machines of the training do not read the same.
    """
    with local_rank_zero_first(exchange) as first:
        encoder = Encoder.load(model, with_pooling(encoder_settings, settings), training=True)
        check_model(encoder, settings, model)
        made = _make(data, encoder, settings) if first else None
    shared = exchange.broadcast_object(made)
    if shared is None or (made is not None and made != shared):
        raise InputError("data, model or code: this machine reads other ones than the first; make them equal")
    corpus_fingerprint, key = shared
    head = masked_lm.load_head(model, encoder, settings.seed)
    decoder = None
    if settings.method == "retromae":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            decoder = EnhancedDecoder(encoder.model.config).to(encoder.device)
    return Inputs(PretrainingModel(encoder, head, decoder), Windows(prepared_folder(key)), corpus_fingerprint)


def with_pooling(encoder: EncoderSettings, settings: PretrainingSettings) -> EncoderSettings:
    """RetroMAE makes the first token's vector the embedding, whatever the base model had, unless another one is set."""
    if settings.method == "retromae" and encoder.sentence_pooling_method == "auto":
        return encoder.model_copy(update={"sentence_pooling_method": "cls"})
    return encoder


def check_model(encoder: Encoder, settings: PretrainingSettings, model: str) -> None:
    """Raise InputError where a base `model`, loaded as `encoder`, cannot be pre-trained as the settings say."""
    masked_lm.check_masked_lm(encoder, model)
    check_checkpointing(encoder, settings, "lower micro_batch_tokens instead")
    before, after = special_tokens(encoder.tokenizer)
    if settings.method == "retromae" and not before:
        raise InputError(
            f"{model}: its tokenizer begins no text with a special token, where RetroMAE puts the embedding; "
            "use method mlm"
        )
    if window_length(encoder, settings) <= len(before) + len(after):
        raise InputError(f"max_seq_length: leaves no room next to the special tokens of {model}; raise it")


def window_length(encoder: Encoder, settings: PretrainingSettings) -> int:
    """Most tokens of a window."""
    return tokenizing.longest(settings.max_seq_length, encoder.model, encoder.tokenizer)


def _make(data: str, encoder: Encoder, settings: PretrainingSettings) -> tuple[str, str]:
    """Read the corpus, and keep its windows in the cache; its fingerprint, and the windows' key."""
    corpus = read_corpus(data).corpus
    found = fingerprint({"corpus": corpus.select(*CORPUS)})
    distinct = corpus.unique("text_key", keep="first", maintain_order=True)
    texts = in_memory(pl.DataFrame({"text": passage_texts(distinct)}))
    length, repeated = window_length(encoder, settings), len(corpus) - len(distinct)
    identity = {
        "of": "windows",
        "code": code_version(__name__),
        "corpus": found,
        "tokenizer": tokenizing.content_hash(encoder.tokenizer),
        "tokenizers": metadata.version("tokenizers"),
        "length": length,
        "pack": settings.pack_passages,
    }
    key = prepare(
        identity,
        lambda folder: write_windows(texts, encoder.tokenizer, length, settings.pack_passages, repeated, folder),
    )
    if not len(Windows(prepared_folder(key))):
        raise InputError(f"{data}: no passage has a token; pre-training needs passages")
    return found, key
