"""What runs that failed or were cancelled left in a store: found by rules, deleted when nobody has written for days.

| leftover | rule |
|---|---|
| checkpoints | ``<hash>/step-<n>/``, which a training deletes itself when its model is written |
| half-written folder | `_WRITING.json` without `_SUCCESS.json`: the files that it names |
| unfinished upload | an upload in parts that was neither completed nor aborted |
| file of a check | ``.write-check-<hex>``, ``.store-check-<hex>/``; on a disk ``.<name>.writing-<hex>`` |

Complete folders and files that others put beside ours are never touched. Age counts from the last write to any file of
a leftover, by the store's clock, and is looked at again just before the deletion: a run that writes is safe.
"""

from __future__ import annotations

import itertools
import logging
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sharpen.errors import SharpenError
from sharpen.retry import at_most
from sharpen.store import local_store, object_store, storage
from sharpen.store.artifact import WRITING, written_before
from sharpen.store.manifest import MARKER
from sharpen.uri import S3Uri, is_remote, local_path, parse_remote

logger = logging.getLogger(__name__)

DAY = 86_400
SWEEP_SECONDS = 30.0
# a run that has ended does not wait for a store only to tidy up
_STORE_SECONDS = 5.0

_CHECKPOINT = re.compile(r"(?P<run>(?:.*/)?[0-9a-f]{16})/step-\d+/(?P<file>.+)")
_CHECK = re.compile(r"(?:.*/)?\.(?:write|store)-check-[0-9a-f]{16}(?:/.*)?")


class _File(NamedTuple):
    key: str
    size: int
    age: float


@dataclass(frozen=True)
class Leftover:
    """Something that may be deleted.

    Attributes:
        kind: the rule that it was found by.
        address: of the folder or file.
        size: in bytes.
        age: seconds since the last write to it.
        delete: deletes it, unless it was written to meanwhile; whether it did.
    """

    kind: str
    address: str
    size: int
    age: float
    delete: Callable[[], bool]


def find_leftovers(address: str, days: float) -> Iterator[Leftover]:
    """What may be deleted below an address.

    Args:
        address: of a folder in a store, or a path.
        days: since the last write.

    Raises:
        InputError, StepFailed: the store cannot be read.
    """
    yield from _files_left(address, days * DAY)
    yield from _uploads_left(address, days * DAY)


def sweep(addresses: Sequence[str], days: float, *, without: str = "", seconds: float = SWEEP_SECONDS) -> None:
    """Delete what is left over below addresses, at the end of a run: takes no longer than some time and never raises.

    Args:
        addresses: of folders of runs.
        days: since the last write; 0: nothing is deleted.
        without: name of a folder directly below one of them that is left: this run, which may be tried again.
        seconds: the time.
    """
    if not days:
        return
    end = time.monotonic() + seconds
    deleted: list[Leftover] = []
    try:
        with at_most(_STORE_SECONDS):
            for leftover in _in_any_order(addresses, days * DAY, without, end):
                if leftover.delete():
                    deleted.append(leftover)
    except Exception as fault:
        logger.warning(f"note: what earlier runs left in the store stays there ({' '.join(str(fault).split())})")
    if deleted:
        size = sum(leftover.size for leftover in deleted) / 2**20
        what = f"{len(deleted)} leftovers of earlier runs, not written to for {days:g} days"
        logger.info(f"store: deleted {what} ({size:,.1f} MiB)")


def _in_any_order(addresses: Sequence[str], seconds: float, without: str, end: float) -> Iterator[Leftover]:
    """What is left over, until a time; by chance which folder is first, so that each gets its turn."""
    folders = [storage.join(root, name) for root in addresses for name in storage.list_folders(root) if name != without]
    random.shuffle(folders)
    found = [
        *(_uploads_left(root, seconds) for root in addresses),
        *(_files_left(folder, seconds, end) for folder in folders),
    ]
    for leftover in itertools.chain.from_iterable(found):
        if time.monotonic() > end:
            return
        yield leftover


def _uploads_left(address: str, seconds: float) -> Iterator[Leftover]:
    if not is_remote(address):
        return
    remote = parse_remote(address)
    try:
        uploads = object_store.unfinished_uploads(remote)
    except SharpenError as fault:
        logger.warning(f"note: unfinished uploads below {address} cannot be looked for ({fault})")
        return
    for upload in uploads:
        if upload.age > seconds:
            delete = partial(_abort, remote, upload, seconds)
            yield Leftover("unfinished upload", _address(remote, upload.key), upload.size, upload.age, delete)


def _files_left(address: str, seconds: float, end: float = float("inf")) -> Iterator[Leftover]:
    if is_remote(address):
        return _in_store(parse_remote(address), seconds, end)
    return _on_disk(local_path(address), seconds)


def _in_store(remote: S3Uri, seconds: float, end: float) -> Iterator[Leftover]:
    """The leftovers among the files below an address; what is not reached until `end` is left for another time."""
    youngest: dict[str, float] = defaultdict(lambda: float("inf"))
    trainings, writing, complete = set[str](), set[str](), set[str]()
    checks: dict[str, _File] = {}
    for file in _files(remote, end):
        folder, _, name = file.key.rpartition("/")
        if checkpoint := _CHECKPOINT.fullmatch(file.key):
            training = checkpoint["run"]
            youngest[training] = min(youngest[training], file.age)
            if checkpoint["file"] in (MARKER, WRITING):
                trainings.add(training)
        elif name == MARKER:
            complete.add(folder)
        elif name == WRITING and file.age > seconds:
            writing.add(folder)
        elif _CHECK.fullmatch(file.key) and file.age > seconds:
            checks[file.key] = file
    rules: list[tuple[str, Callable[[S3Uri], list[_File]], Iterable[str]]] = [
        ("checkpoints", _checkpoints, [training for training in trainings if youngest[training] > seconds]),
        ("half-written folder", _half_written, writing - complete),
        # nobody writes to one twice
        ("file of a check", lambda at: [checks[at.key]], checks),
    ]
    for kind, look, keys in rules:
        for key in sorted(keys):
            at = S3Uri(_address(remote, key), remote.bucket, key, remote.endpoint, remote.region)
            files = look(at)
            if _is_old(files, seconds):
                size, age = sum(file.size for file in files), min(file.age for file in files)
                yield Leftover(kind, at.uri, size, age, partial(_delete, at, look, seconds))


def _files(remote: S3Uri, end: float = float("inf")) -> Iterator[_File]:
    for page in object_store.pages(remote):
        yield from (_File(item["Key"], item["Size"], item["Age"]) for item in page["Contents"])
        if time.monotonic() > end:
            return


def _checkpoints(training: S3Uri) -> list[_File]:
    """The files of all checkpoints of a training."""
    return [file for file in _files(training) if _CHECKPOINT.fullmatch(file.key)]


def _half_written(folder: S3Uri) -> list[_File]:
    """The files that a writer named before it began, each as young as the youngest of the folder; none: it is whole."""
    files = list(_files(folder))
    if not files or any(file.key == folder.prefix + MARKER for file in files):
        return []
    if not (written := written_before(folder.below(WRITING))):
        return []
    youngest = min(file.age for file in files)
    named = {folder.prefix + name for name in (WRITING, *written)}
    return [_File(file.key, file.size, youngest) for file in files if file.key in named]


def _is_old(files: Sequence[_File], seconds: float) -> bool:
    return bool(files) and min(file.age for file in files) > seconds


def _delete(at: S3Uri, look: Callable[[S3Uri], list[_File]], seconds: float) -> bool:
    files = look(at)
    if not _is_old(files, seconds):
        return False
    # what says that they are ours goes last, so that a deletion that is cut short is gone on with
    last = (MARKER, WRITING)
    keys = sorted((file.key for file in files), key=lambda key: key.rpartition("/")[2] in last)
    object_store.delete_keys(at, keys)
    return True


def _abort(remote: S3Uri, upload: object_store.Upload, seconds: float) -> bool:
    now = [other for other in object_store.unfinished_uploads(remote) if other.upload_id == upload.upload_id]
    if not now or now[0].age <= seconds:
        return False
    object_store.abort(remote, upload)
    return True


def _address(remote: S3Uri, key: str) -> str:
    location, mark, options = remote.uri.partition("?")
    return f"{location.partition('://')[0]}://{remote.bucket}/{key}{mark}{options}"


def _on_disk(root: Path, seconds: float) -> Iterator[Leftover]:
    """What processes that were killed had begun to write and not renamed."""
    with local_store.translate_os_errors(root):
        for path in sorted(root.rglob(".*.writing-*")):
            inside = any(local_store.is_internal_file(part) for part in path.relative_to(root).parts[:-1])
            if local_store.is_internal_file(path.name) and not inside and (age := _age_on_disk(path)) > seconds:
                size = sum(part.stat().st_size for part in _parts(path))
                yield Leftover("half-written folder", str(path), size, age, partial(_delete_on_disk, path, seconds))


def _parts(path: Path) -> list[Path]:
    return [path, *path.rglob("*")] if path.is_dir() else [path]


def _age_on_disk(path: Path) -> float:
    return time.time() - max(part.lstat().st_mtime for part in _parts(path))


def _delete_on_disk(path: Path, seconds: float) -> bool:
    if not path.exists() or _age_on_disk(path) <= seconds:
        return False
    local_store.delete(path)
    return True
