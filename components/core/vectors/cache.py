"""Where an encoder's vectors are kept: ``vectors/<identity>`` in the local cache, or at an address of the user's."""

from __future__ import annotations

from components.core import storage
from components.core.addresses import local_path
from components.core.download_cache import cache_folder
from components.core.errors import InputError
from components.core.kinds import Kind
from components.core.vectors.description import WrongDimension, identity_of
from components.core.vectors.lazy_encoder import LazyEncoder
from components.core.vectors.pruning import prune
from components.core.vectors.shards import ShardFolder
from components.core.vectors.shared import SharedShards


def open_cache(encoder: LazyEncoder, kind: Kind, address: str | None = None) -> ShardFolder | None:
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
        # nobody asked for this cache: a pod whose disk is read-only works without
        if address != "auto" or isinstance(error, WrongDimension):
            raise
        print(f"note: vectors are not kept ({error}); name a place with encoder.vector_cache", flush=True)
        return None
    shards.sweep()
    return shards


def _opened(encoder: LazyEncoder, kind: Kind, address: str) -> ShardFolder:
    facts = encoder.facts(kind)
    name = identity_of(facts)
    shared = storage.is_remote(address)
    root = cache_folder() / "vectors" if shared or address == "auto" else local_path(address)
    if shared:
        return SharedShards(root / name, facts, encoder.dimension, storage.join(address, name))
    return ShardFolder(root / name, facts, encoder.dimension)


def make_room(encoder: LazyEncoder, shards: ShardFolder, address: str) -> None:
    """Remove what was used longest ago when this machine's cache is too large; a folder of the user's is the user's.

    Arguments as for `open_cache`, which gave the shards.
    """
    if address == "auto" or storage.is_remote(address):
        prune(shards.folder.parent, int(encoder.settings.vector_cache_gib * 2**30))
