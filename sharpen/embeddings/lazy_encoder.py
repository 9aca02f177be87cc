"""A model that is loaded when there is a text to encode: when all vectors are cached, it need not be.

What an encoder is, as far as the cache and its users ask, follows from its files, its settings, the device and the
code. It is kept under the hash of all these, so that a changed model is another one. Importing transformers, loading
the model and hashing its weights take longer than all that is left to do when nothing has changed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpen.data.text_type import TextType
from sharpen.embeddings.cache_metadata import identity_of, source_hash
from sharpen.errors import InputError, StepFailed
from sharpen.hardware import allocator
from sharpen.hardware.device import default_device, use_bf16
from sharpen.models import model_hub
from sharpen.models.model_config import ModelConfig
from sharpen.settings import EncoderSettings
from sharpen.store import local_store
from sharpen.store.download_cache import cache_folder

if TYPE_CHECKING:
    import torch

    from sharpen.models.encoder import Encoder
    from sharpen.models.identity import ModelIdentity

_LIBRARIES = ("torch", "transformers", "tokenizers", "flash-attn")
# Weights of other kinds, which are never read.
_NOT_READ = {".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".ot", ".tflite", ".gguf"}
# A model that was learnt of longer ago than this is learnt of again, which takes seconds.
_FORGOTTEN_SECONDS = 90 * 24 * 3600
_LIBRARY = Path(__file__).parents[1]
# The rooms whose code decides what is known of a model.
_ROOMS = ("data", "embeddings", "hardware", "models")


class LazyEncoder:
    """An `Encoder`, or what is known of one that was loaded before.

    Attributes:
        address: of the model.
        settings: how texts become embeddings.
    """

    def __init__(self, address: str, settings: EncoderSettings, encoder: Encoder | None) -> None:
        self.address, self.settings = address, settings
        self._encoder = encoder
        # of what `open` gave
        self._facts: dict[str, Any] | None = None

    @classmethod
    def open(cls, address: str, settings: EncoderSettings) -> LazyEncoder:
        """A model that was loaded before with these settings, not loaded; another one is loaded now.

        Raises:
            InputError: as `Encoder.load`.
        """
        found = cls(address, settings, None)
        memo = _memo_file(address, settings)
        found._facts = _read(memo) if memo else None
        if found._facts is None:
            found._facts = _learn(found.load(), for_cache=memo is not None)
            if memo:
                _write(memo, found._facts)
        return found

    @classmethod
    def of(cls, encoder: Encoder) -> LazyEncoder:
        """An encoder that is loaded, as it is when its identity is first read: make another one after training."""
        return cls(encoder.address, encoder.settings, encoder)

    def load(self) -> Encoder:
        """The encoder itself.

        Raises:
            InputError: as `Encoder.load`.
            StepFailed: it is another one than when it was opened.
        """
        if self._encoder is None:
            from sharpen.models.encoder import Encoder

            encoder = Encoder.load(self.address, self.settings)
            if self._facts is not None and _learn(encoder, for_cache="facts" in self._facts) != self._facts:
                raise StepFailed(f"{self.address}: the model was changed while it was in use; run again")
            self._encoder = encoder
        return self._encoder

    def unload(self) -> None:
        """Unload it: its part is done, and what follows can use the memory. Only for what `open` gave."""
        self._encoder = None
        allocator.release_freed_memory()

    @property
    def dimension(self) -> int:
        """Length d of an embedding."""
        return self.load().dimension if self._facts is None else self._facts["dimension"]

    @property
    def device(self) -> torch.device:
        """Where its weights are, or would be."""
        return default_device() if self._encoder is None else self._encoder.device

    @property
    def weights_hash(self) -> str:
        """`ModelIdentity.model` of it."""
        return self._identity.model if self._facts is None else self._facts["weights_hash"]

    @property
    def config(self) -> ModelConfig:
        """How it embeds texts: lengths, pooling, prompts, precision."""
        return self.load().as_config() if self._facts is None else ModelConfig.checked(self._facts["config"])

    def facts(self, kind: TextType) -> Mapping[str, Any]:
        """`identity.encoder_facts` of it."""
        if self._facts is not None and "facts" in self._facts:
            return self._facts["facts"][kind]
        from sharpen.embeddings.identity import encoder_facts

        return encoder_facts(self.load(), kind, self._identity)

    @cached_property
    def _identity(self) -> ModelIdentity:
        from sharpen.models.identity import identify

        return identify(self.load())


def _learn(encoder: Encoder, *, for_cache: bool) -> dict[str, Any]:
    from sharpen.embeddings.identity import encoder_facts
    from sharpen.models.identity import identify

    identity = identify(encoder)
    facts = {
        "dimension": encoder.dimension,
        "weights_hash": identity.model,
        "config": encoder.as_config().model_dump(mode="json"),
    }
    if for_cache:
        facts["facts"] = {kind: encoder_facts(encoder, kind, identity) for kind in ("query", "passage")}
    return json.loads(json.dumps(facts))  # as they are when they are read


def _memo_file(address: str, settings: EncoderSettings) -> Path | None:
    """The file with what is known of a model; None where no vectors are kept either."""
    if settings.vector_cache in ("off", ""):
        return None
    folder = model_hub.resolve_model(address)
    try:
        return cache_folder() / "models" / f"{_key(folder, settings)}.json"
    except InputError:
        return None  # a disk that is read-only; the vector cache says so


def _key(folder: Path, settings: EncoderSettings) -> str:
    """Cache key: everything that the facts depend on, which is known without loading the model."""
    device = default_device()
    files = sorted(path for path in folder.glob("**/*") if path.is_file() and path.suffix not in _NOT_READ)
    facts = {
        "files": {path.relative_to(folder).as_posix(): local_store.sha256_of(path) for path in files},
        "settings": settings.model_dump(mode="json"),
        "device": [device.type, use_bf16(settings.precision, device)],
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "code": source_hash(sorted(file for room in _ROOMS for file in (_LIBRARY / room).rglob("*.py"))),
    }
    return identity_of(facts)


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


def _read(memo: Path) -> dict[str, Any] | None:
    """What was written; None, where it was not or is damaged."""
    try:
        found = json.loads(memo.read_bytes())
        whole = isinstance(found["dimension"], int) and isinstance(found["weights_hash"], str)
        ModelConfig.checked(found["config"])
        return found if whole and found["facts"].keys() == {"query", "passage"} else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError):
        return None


def _write(memo: Path, facts: Mapping[str, Any]) -> None:
    # where nothing can be written, it is loaded again the next time
    with suppress(OSError, InputError):
        memo.parent.mkdir(exist_ok=True, mode=0o700)
        local_store.write(memo, (json.dumps(facts, sort_keys=True) + "\n").encode())
        for other in memo.parent.iterdir():
            if time.time() - other.stat().st_mtime > _FORGOTTEN_SECONDS:
                other.unlink(missing_ok=True)
