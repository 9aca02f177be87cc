"""Approvals, aliases and deletions that are killed after each of their writes, each then done again, as JSON lines.

Run as a program. Arguments: root of the registry, addresses of three models. Each is a process of its own, about a
model of another name.
"""

from __future__ import annotations

import json
import sys

import boto3.session

from sharpen.errors import InputError
from sharpen.registry import aliases, approval, registry
from sharpen.registry.retention.versions import delete_version, half_deleted
from sharpen.store import storage
from tests.sharpen.registry.killed_promotions import die_at, in_a_child, watch_disk, watch_store


def prepare(what: str, root: str, name: str, models: list[str]) -> None:
    """A model with three champions; to approve, one that waits beside one champion."""
    for number, model in enumerate(models[: 2 if what == "approve" else 3], start=1):
        version = registry.register(root, name, model, {}, run_id="r").version
        if what == "approve" and number == 2:
            approval.request(root, name, version, compared_with="v0001", evaluation="e", reasons=["better"])
        else:
            registry.promote(root, name, version, reason="good", evaluation=f"e{number}")


def copy(what: str, root: str, name: str) -> None:
    """The prepared model under another name: a registry may be copied."""
    source = storage.join(root, "models", what)
    for file in storage.list_files(source):
        storage.write_bytes(storage.join(root, "models", name, file.name), storage.read_bytes(file.uri))


def act(what: str, root: str, name: str) -> None:
    if what == "approve":
        assert approval.approve(root, name, "v0002", by="Ann").version == "v0002"
    elif what == "alias":
        registry.set_alias(root, name, "v0002", "staging")
    elif registry.list_versions(root, name) != ["v0002", "v0003"] or half_deleted(root, name):
        assert delete_version(root, name, "v0001")


def check(what: str, root: str, name: str) -> None:
    """What holds when it was done again."""
    champion = registry.read_champion(root, name)
    assert champion
    storage.open_artifact(champion.address)
    if what == "approve":
        assert champion.version == "v0002" and champion.reason.startswith("approved by Ann")
        assert approval.waiting(root, name) == {} and champion.history == ["v0001"]
    elif what == "alias":
        assert aliases.list_aliases(root, name) == {"staging": "v0002"}
    else:
        assert registry.list_versions(root, name) == ["v0002", "v0003"]
        assert (champion.retired, champion.history) == ([], ["v0002"])
        assert not storage.list_files(registry.version_address(root, name, "v0001"))
        try:
            registry.promote(root, name, "v0001", reason="")
        except InputError:
            return
        raise AssertionError("a deleted version was promoted")


def main(root: str, *models: str) -> None:
    watch = watch_store if storage.is_remote(root) else watch_disk
    session = boto3.session.Session()
    session.client("s3", region_name="us-east-1")
    boto3.session.Session = lambda: session  # type: ignore[assignment,misc]

    def killed(what: str, name: str, number: int) -> None:
        watch(die_at(number))
        act(what, root, name)

    def again(what: str, name: str) -> None:
        # whatever was left, the champion can be read and opened
        champion = registry.read_champion(root, name)
        assert champion
        storage.open_artifact(champion.address)
        act(what, root, name)
        check(what, root, name)

    for what in ("approve", "alias", "delete"):
        assert in_a_child(lambda what=what: prepare(what, root, what, list(models))) == 0
        number, status = 1, -9
        while status == -9:
            name = f"{what}-{number}"
            assert in_a_child(lambda what=what, name=name: copy(what, root, name)) == 0
            status = in_a_child(lambda what=what, name=name, number=number: killed(what, name, number))
            done = in_a_child(lambda what=what, name=name: again(what, name))
            print(json.dumps({"what": what, "number": number, "killed": status, "again": done}), flush=True)
            number += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
