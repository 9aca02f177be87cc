"""Promotions that are killed after each of their writes, each then done again: what came of them, as JSON lines.

Run as a program. Arguments: root of the registry, address of the model, address of its evaluation. Each promotion is a
process of its own, forked before anything here has threads, and is one of a model of another name.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import boto3.session
import botocore.client

from sharpen.registry import registry
from sharpen.registry.promote import promote
from sharpen.registry.settings import PromotionSettings
from sharpen.store import storage
from sharpen.version import code_version

# audit events of the interpreter that change files
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate", "shutil.copyfile")
CALLS = ("Put", "Delete", "Create", "Upload", "Complete", "Copy", "Abort")
SETTINGS = PromotionSettings.checked({})


def die_at(number: int) -> Callable[[], None]:
    """A function that kills this process when it is called for this time."""
    lock, count = threading.Lock(), [0]

    def change() -> None:
        with lock:
            count[0] += 1
            if count[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    return change


def watch_disk(change: Callable[[], None]) -> None:
    """Call `change` before every change of a file below this process."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or opened:
            change()

    sys.addaudithook(hook)


def watch_store(change: Callable[[], None]) -> None:
    """Call `change` after every call that changes something in the object store."""
    original = botocore.client.BaseClient._make_api_call

    def call(self: object, operation: str, arguments: object) -> object:
        answer = original(self, operation, arguments)
        if operation.startswith(CALLS):
            change()
        return answer

    botocore.client.BaseClient._make_api_call = call


def in_a_child(work: Callable[[], None]) -> int:
    """The exit status of a child that does the work; -9 when it was killed."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(root: str, model: str, evaluation: str) -> None:
    watch = watch_store if storage.is_remote(root) else watch_disk
    # the description of S3 is read once, not in every child; a client opens no connection before its first call
    session = boto3.session.Session()
    session.client("s3", region_name="us-east-1")
    code_version()
    boto3.session.Session = lambda: session  # type: ignore[assignment,misc]

    def once(name: str, number: int = 0) -> None:
        if number:
            watch(die_at(number))
        ended = promote(model, evaluation, name, root, SETTINGS)
        version = registry.version_address(root, name, "v0001")
        assert (ended.verdict, ended.version, ended.champion) == ("promote", version, version), ended

    number, killed = 1, -9
    while killed == -9:
        name = f"killed-{number}"
        killed = in_a_child(lambda name=name, number=number: once(name, number))
        began = time.monotonic()
        again = in_a_child(lambda name=name: once(name))
        print(json.dumps({"name": name, "killed": killed, "again": again, "seconds": time.monotonic() - began}))
        sys.stdout.flush()
        number += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
