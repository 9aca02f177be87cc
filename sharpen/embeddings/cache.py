"""Where an encoder's vectors are kept: ``vectors/<identity>`` in the local cache, or at an address of the user's."""

from __future__ import annotations

import logging

from sharpen.data.text_type import TextType
from sharpen.embeddings.cache_metadata import WrongDimension, identity_of
from sharpen.embeddings.lazy_encoder import LazyEncoder
from sharpen.embeddings.pruning import prune
from sharpen.embeddings.remote_shards import RemoteShards
from sharpen.embeddings.shards import ShardFolder
from sharpen.errors import InputError
from sharpen.store import storage
from sharpen.store.download_cache import cache_folder
from sharpen.uri import local_path

logger = logging.getLogger(__name__)


def open_cache(encoder: LazyEncoder, kind: TextType, address: str | None = None) -> ShardFolder | None:
    """The encoder's shards; None when they shall be kept nowhere.

    Args:
        encoder: the model.
        kind: of the texts.
        address: as `EncoderSettings.vector_cache`, which it is by default.

    Raises:
        InputError: vectors of another length are kept there, or nothing can be written at the address that was set.
    """
    address = encoder.settings.vector_cache if address is None else address
    if address in ("off", ""):
        return None
    try:
        shards = _opened(encoder, kind, address)
    except InputError as error:
        # no setting names this cache: a pod whose disk is read-only works without
        if address != "auto" or isinstance(error, WrongDimension):
            raise
        logger.warning(f"note: vectors are not kept ({error}); name a folder by encoder.vector_cache")
        return None
    shards.collect_garbage()
    return shards


def _opened(encoder: LazyEncoder, kind: TextType, address: str) -> ShardFolder:
    facts = encoder.facts(kind)
    name = identity_of(facts)
    shared = storage.is_remote(address)
    root = cache_folder() / "vectors" if shared or address == "auto" else local_path(address)
    if shared:
        return RemoteShards(root / name, facts, encoder.dimension, storage.join(address, name))
    return ShardFolder(root / name, facts, encoder.dimension)


def evict(encoder: LazyEncoder, shards: ShardFolder, address: str) -> None:
    """Remove what was used longest ago when this machine's cache is too large; a folder of the user's is the user's.

    Arguments as for `open_cache`, which gave the shards.
    """
    if address == "auto" or storage.is_remote(address):
        prune(shards.folder.parent, int(encoder.settings.vector_cache_gib * 2**30))
