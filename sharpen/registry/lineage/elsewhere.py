"""What registering a version in another registry needs, whichever it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sharpen.errors import InputError, StepFailed
from sharpen.http_api import ApiError, Server
from sharpen.http_api.json_api import JsonApi
from sharpen.registry import aliases, registry
from sharpen.registry.lineage.lineage import Lineage, read_lineage
from sharpen.registry.registry import CHAMPION
from sharpen.store import storage

CONTENT = "sharpen.content"
"""What of `facts_of` a repeated call knows a version by."""


def readable_lineage(root: str, name: str, version: str, where: str) -> Lineage:
    """The lineage of a version whose weights others can read.

    Args:
        root, name: of this registry and of the model.
        version: its number, ``champion`` or an alias.
        where: the other registry, for messages.

    Raises:
        InputError: no such version, or a registry on a local disk.
    """
    lineage = read_lineage(root, name, version)
    if not storage.is_remote(lineage.version.address):
        raise InputError(
            f"{lineage.version.address}: is on this machine, where users of {where} cannot read it; only versions in "
            "an s3:// registry can be registered there"
        )
    return lineage


def server_api(name: str, address: str, headers: Mapping[str, str]) -> JsonApi:
    """The API of a server that a person named.

    Args:
        name: of the server, in words.
        address: what the paths of its calls are put after.
        headers: of every call.
    """
    return JsonApi(Server(name, False, None, 0.5, 10.0), address, headers)


@contextmanager
def one_line_faults(name: str) -> Iterator[None]:
    """Raise InputError where the server `name` refuses a call in the block, StepFailed where it does not answer."""
    try:
        yield
    except ApiError as error:
        if error.passing:
            raise StepFailed(f"{name}: no answer: {error.message}") from None
        raise InputError(f"{name} refuses: {error.message}") from None


def facts_of(lineage: Lineage) -> dict[str, str]:
    """What a version was made of, by names that begin with ``sharpen.``; empty facts are left out."""
    version = lineage.version
    facts = {
        "content": version.content,
        "version": version.version,
        "run": version.run_id,
        "created_at": version.created_at,
        "code_version": lineage.code_version,
        "data_fingerprint": lineage.data_fingerprint,
        "verdict": lineage.verdict,
        **{what.replace(" ", "_"): address for what, address in lineage.parents.items()},
    }
    return {f"sharpen.{name}": value for name, value in facts.items() if value}


def names_of(root: str, name: str, version: str) -> list[str]:
    """Names of a `version` of the model `name` besides its number: ``champion`` and aliases."""
    champion = registry.read_champion(root, name)
    named = [alias for alias, other in aliases.list_aliases(root, name).items() if other == version]
    return [*([CHAMPION] if champion and champion.version == version else []), *named]
