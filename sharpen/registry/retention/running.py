"""Runs that are going on: ``<root>/running/<run>.json``, from a run's first step to its last.

A run takes outputs of earlier ones from a cache, so that what looks old may be what it reads next.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from sharpen import typed_json
from sharpen.errors import InputError, SharpenError
from sharpen.registry import process_identity
from sharpen.store import storage

DAY = 86_400


@dataclass(frozen=True)
class _Mark:
    run_id: str
    process: dict[str, str] = field(default_factory=dict)


def begin(root: str, run: str) -> None:
    """Say that a run has begun; done again, nothing changes."""
    _write(root, _Mark(run))


@contextlib.contextmanager
def during(root: str, run: str) -> Iterator[None]:
    """A block that is a run of this process, whose mark counts no longer than the process lives."""
    _write(root, _Mark(run, process_identity.this_process()))
    try:
        yield
    finally:
        with contextlib.suppress(SharpenError):
            end(root, run)


def end(root: str, run: str) -> None:
    """Say that a run has ended."""
    storage.delete(_address(root, run))


def runs(root: str, days: float) -> list[str]:
    """Ids of the runs that go on, by name: begun within so many days, and whose process has not ended."""
    found = []
    for file in storage.list_files(storage.join(root, "running")):
        try:
            data, _, age = storage.read_with_age(storage.join(root, "running", file.name))
            mark = typed_json.parse(_Mark, data, file.name)
        except storage.NotFound:
            continue
        except InputError:
            mark, age = _Mark(file.name.removesuffix(".json")), 0.0
        if age <= days * DAY and not process_identity.has_ended(mark.process):
            found.append(mark.run_id)
    return found


def _write(root: str, mark: _Mark) -> None:
    with contextlib.suppress(storage.PreconditionFailed):
        storage.write_json(_address(root, mark.run_id), asdict(mark), if_absent=True)


def _address(root: str, run: str) -> str:
    return storage.join(root, "running", f"{run}.json")
