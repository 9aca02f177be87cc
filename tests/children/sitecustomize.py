"""Counts the calls of the object store in a process, and holds it at some of them (`tests/store_outages.py`)."""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
import threading
import time
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path

FOLDER = os.environ.get("SHARPEN_TEST_CALLS", "")
MODULE = "sharpen.store.retry"


def step() -> str:
    """The component that this process runs; for a process of torchrun the module."""
    words = sys.orig_argv
    for option in ("--function_to_execute", "-m"):
        if option in words:
            return words[words.index(option) + 1]
    return ""


class Finder(MetaPathFinder):
    """Wraps the function through which all calls get their client."""

    def find_spec(self, name, path=None, target=None):
        spec = PathFinder.find_spec(name, path) if name == MODULE else None
        if spec is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                module.client = counted(module.client)

            spec.loader.exec_module = exec_module
        return spec


def counted(client):
    folder, name, process = Path(FOLDER), step(), os.getpid()
    held = json.loads((folder / "stops.json").read_text()).get(name, [])
    numbers, lock = itertools.count(1), threading.Lock()

    def call(remote, **options):
        with lock:
            number = next(numbers)
            line = json.dumps([name, process, number, remote.uri])
            with (folder / f"{process}.calls").open("a") as file:
                file.write(line + "\n")
            found = [stop for stop in held if stop == number or (isinstance(stop, str) and re.search(stop, remote.uri))]
            if found:
                held.remove(found[0])
                mark = folder / f"{process}-{number}"
                mark.write_text(line)
                mark = mark.rename(mark.with_suffix(".held"))
                while mark.exists():
                    time.sleep(0.02)
        return client(remote, **options)

    return call


if FOLDER:
    sys.meta_path.insert(0, Finder())
