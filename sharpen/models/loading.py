"""A transformers model from a folder: safetensors only, no code from the folder, weights in float32."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, AutoModelForTextEncoding, AutoTokenizer
from transformers.utils import logging

from sharpen.errors import InputError, SharpenError
from sharpen.hardware import allocator, cpu_attention
from sharpen.models import architecture, model_check
from sharpen.models.pooling import T5


def load_transformer(
    folder: Path, source: str, implementations: Sequence[str], prepare: Callable[[Any], None] | None = None
) -> Any:
    """The model, with the first of some attention implementations that it supports.

    Args:
        folder: where it is.
        source: the model's address, for messages.
        implementations: as transformers names them.
        prepare: changes the model, which is on the CPU.

    Raises:
        InputError: the folder has no model that can be read safely, or none that maps a text to token vectors.
    """
    model_check.check_transformer(source, folder)
    cpu_attention.register()
    allocator.retain_freed_memory()
    with readable(source):
        model = _first(folder, implementations)
    if prepare is not None:
        prepare(model)
    return model


def _first(folder: Path, implementations: Sequence[str]) -> Any:
    *others, last = implementations
    for implementation in others:
        try:
            return _load(folder, implementation)
        except (ValueError, ImportError):
            continue
    return _load(folder, last)


def shared_tokenizer(folders: Sequence[Path], source: str) -> Any:
    """The tokenizer of one tower or of both.

    Raises:
        InputError: there is none, or the towers' differ.
    """
    with readable(source):
        found = [AutoTokenizer.from_pretrained(folder, trust_remote_code=False) for folder in folders]
    if any(other.get_vocab() != found[0].get_vocab() for other in found):
        raise InputError(f"{source}: its towers have different tokenizers; use towers that share one")
    # sentence-transformers writes each route's own length into its tokenizer; ours come from the settings.
    found[0].model_max_length = max(one.model_max_length for one in found)
    return found[0]


def embedding_size(folder: Path, source: str) -> int:
    """Length of the embeddings of a model, from its configuration alone.

    Args:
        folder: the local folder of the whole model.
        source: its address, for messages.

    Raises:
        InputError: there is none that can be read.
    """
    facts = architecture.read_architecture(folder)
    tower = folder / facts.towers["passage"]
    model_check.check_transformer(source, tower)
    with readable(source):
        token_size = AutoConfig.from_pretrained(tower, trust_remote_code=False).hidden_size
    return facts.dimension({"passage": token_size}, source)


def weight_names(folder: Path, source: str) -> list[str]:
    """Names of the weights that embeddings of a transformers folder depend on, as `load_transformer` saves them.

    Raises:
        InputError: as `load_transformer`, as far as the configuration says it.
    """
    model_check.check_transformer(source, folder)
    with readable(source), torch.device("meta"):
        config, kind, options = _configuration(folder)
        state = kind.from_config(config, trust_remote_code=False, **options).state_dict(keep_vars=True)
    # of weights that are one under two names, the first is saved
    first = {id(weight): name for name, weight in reversed(state.items())}
    return [name for name, weight in state.items() if first[id(weight)] == name]


def _configuration(folder: Path) -> tuple[Any, Any, dict[str, Any]]:
    """The configuration of a transformer, the class that loads it, and what the model is made with."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if config.model_type in T5:
        # the class of its encoder, which neither reads nor needs a decoder
        return config, AutoModelForTextEncoding, {}
    if config.is_encoder_decoder:
        raise ValueError(
            f"{config.model_type} is an encoder with a decoder; of such models the encoders of {', '.join(T5)} are read"
        )
    if hasattr(config, "use_cache"):
        # Keys and values are kept for generating text: memory that no embedding needs.
        config.use_cache = False
    options: dict[str, Any] = {}
    kind = MODEL_MAPPING.get(type(config), None)
    if kind is not None and "add_pooling_layer" in inspect.signature(kind.__init__).parameters:
        # The pooler's weights are never used by an embedding: they would be trained by nothing.
        options["add_pooling_layer"] = False
    return config, AutoModel, options


def _load(folder: Path, implementation: str) -> Any:
    config, kind, options = _configuration(folder)
    with quiet():
        model, found = kind.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation=implementation,
            output_loading_info=True,
            **options,
        )
    if missing := sorted(found["missing_keys"]):
        # transformers would have made them up at random.
        raise ValueError(f"its files lack {len(missing)} weights, such as {missing[0]}")
    return model


@contextmanager
def readable(source: str) -> Iterator[None]:
    """A block in which what transformers says of a folder that it cannot read becomes one line for the user.

    The block does nothing but read the folder, whose faults reach us as errors of any class.
    """
    try:
        yield
    except (SharpenError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{source}: cannot be loaded as a text-embedding model: {reason}") from error


@contextmanager
def quiet() -> Iterator[None]:
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
