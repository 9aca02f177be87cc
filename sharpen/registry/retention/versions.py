"""Which versions of a model stay, and the deletion of one that does not.

Nothing may come to stand for a version while it is deleted: the pointer of the champion lists it as retired first, by a
conditional write, and `registry.promote` and `registry.set_alias` refuse what is listed there. Then aliases and waiting
versions are looked at once more. A deletion that was killed is finished by the next collection.
"""

from __future__ import annotations

from dataclasses import replace

from sharpen.registry import aliases, approval, claims, registry
from sharpen.registry.registry import Champion
from sharpen.registry.versions import index_address, version_address
from sharpen.store import storage


def staying(root: str, name: str, newest: int) -> set[str]:
    """Versions of a model that stay: champion, the one before it, those with aliases, those that wait, the newest ones.

    While there is no champion all stay, as nobody has decided about any.

    Args:
        root, name: of the registry and of the model.
        newest: how many of the newest versions stay.
    """
    versions = registry.list_versions(root, name)
    champion = registry.read_champion(root, name)
    if champion is None:
        return {*versions}
    return {champion.version, champion.previous, *versions[-newest:], *_named(root, name)} - {""}


def delete_version(root: str, name: str, version: str) -> bool:
    """Delete a version with its index, unless something stands for it by now; whether it was deleted.

    Args:
        root, name, version: which.
    """

    def retire(present: Champion) -> Champion | None:
        if version in (present.version, present.previous):
            return None
        return replace(present, retired=sorted({*present.retired, version}))

    retired = registry.change_champion(root, name, retire)
    if retired is None or version not in retired.retired or version in (retired.version, retired.previous):
        return False
    if version in _named(root, name):
        registry.change_champion(root, name, lambda present: _forgotten(present, version, deleted=False))
        return False
    address = version_address(root, name, version)
    claims.forget(storage.join(root, "models", name, "claims"), version)
    storage.delete(index_address(address))
    storage.delete(address)
    approval.forget(root, name, version)
    for alias, stands_for in aliases.list_aliases(root, name).items():
        # one that was killed between its write and its look at what is retired
        if stands_for == version:
            storage.delete(aliases.address(root, name, alias))
    registry.change_champion(root, name, lambda present: _forgotten(present, version, deleted=True))
    return True


def half_deleted(root: str, name: str) -> list[str]:
    """Versions whose deletion was killed."""
    champion = registry.read_champion(root, name)
    return champion.retired if champion else []


def _named(root: str, name: str) -> set[str]:
    return {*aliases.list_aliases(root, name).values(), *approval.waiting(root, name)}


def _forgotten(present: Champion, version: str, *, deleted: bool) -> Champion:
    left = replace(present, retired=[other for other in present.retired if other != version])
    if not deleted:
        return left
    return replace(
        left,
        history=[other for other in left.history if other != version],
        evaluations={other: address for other, address in left.evaluations.items() if other != version},
    )
