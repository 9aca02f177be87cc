"""Local copies of remote files, kept by content: `$SHARPEN_CACHE`, else ``~/.cache/sharpen``.

An entry is a folder whose name is a hash of what it holds. It is filled beside its place and renamed when it is whole,
and only one process fills it, so that any number of processes may share the cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sharpen.errors import InputError, StepFailed
from sharpen.progress import progress
from sharpen.store import local_store, object_store
from sharpen.store.manifest import CACHE_MARKER, fault_of, mark_complete
from sharpen.uri import (
    NotFound,
    StoreUnavailable,
    is_remote,
    local_path,
    parse_remote,
    validate_relative_path,
)

CACHE_VARIABLE = "SHARPEN_CACHE"
# below this, a transfer is over before a reader has read a line about it
SHOWN_BYTES = 64 * 2**20


def cache_folder() -> Path:
    """The cache's folder, made if need be; only its owner can read it, since models and data may be private."""
    named = os.environ.get(CACHE_VARIABLE)
    folder = Path(named).expanduser() if named else Path.home() / ".cache" / "sharpen"
    with local_store.translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "entries").mkdir(exist_ok=True, mode=0o700)
    return folder


def get_or_create(key: str, fill: Callable[[Path], None]) -> Path:
    """The cached folder for `key`; one that is not complete is filled again.

    Args:
        key: what identifies the content; hashed to make the folder's name.
        fill: writes the content into an empty folder, or raises.
    """
    place = cache_folder() / "entries" / hashlib.sha256(key.encode()).hexdigest()[:40]
    if _is_whole(place):
        return place
    with local_store.translate_os_errors(place), local_store.locked(place.with_name(f".{place.name}.lock")):
        if _is_whole(place):
            return place
        local_store.delete(place)
        fresh = local_store.temp_sibling(place)
        fresh.mkdir(mode=0o700)
        try:
            fill(fresh)
            mark_complete(fresh, producer="cache", marker=CACHE_MARKER)
            fresh.rename(place)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    return place


def _is_whole(place: Path) -> bool:
    return place.is_dir() and not fault_of(place, marker=CACHE_MARKER)


@contextmanager
def transfer(what: str, size: int) -> Iterator[Callable[[int], None] | None]:
    """Progress of a transfer of `size` bytes: a callback for any number of threads; None when it is short."""
    if size < SHOWN_BYTES:
        yield None
        return
    lock = threading.Lock()
    with progress(what, size / 2**20, "MiB") as reporter:

        def done(amount: int) -> None:
            with lock:
                reporter.advance(amount / 2**20)

        yield done


@dataclass(frozen=True)
class Expected:
    """A file to download: its name below the folder, size in bytes, and what identifies its content.

    Attributes:
        etag: the listing's ETag; empty: any.
        sha256: hex; empty: unknown, so that the store's checksum or ETag decides.
    """

    name: str
    size: int
    etag: str = ""
    sha256: str = ""


def download(root: str, files: Sequence[Expected], folder: Path) -> None:
    """Fetch files below `root` into a folder and compare them with what is known of them.

    Raises:
        InputError: a name leaves the folder.
        StepFailed: a file changed or is gone, or arrived damaged again and again (`DamagedTransfer`).
    """
    remote = parse_remote(root)
    with transfer(f"download {root}", sum(file.size for file in files)) as done:
        for file in files:
            path = folder / validate_relative_path(file.name, root)
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            below = remote.below(file.name)
            try:
                object_store.download(below, path, done, etag=file.etag, size=file.size, sha256=file.sha256)
            except NotFound:
                raise StepFailed(f"{root}: {file.name} is gone; write the folder again") from None
            except (InputError, StoreUnavailable):
                raise
            except StepFailed as fault:
                raise type(fault)(f"{root}: {file.name}{str(fault).removeprefix(below.uri + ':')}") from None


def localize(uri: str) -> Path:
    """A file or folder that the user named, as a local path; remote ones are cached by their ETags.

    Raises:
        InputError: nothing is there, or the folder has no files.
    """
    if not is_remote(uri):
        path = local_path(uri)
        with local_store.translate_os_errors(path):
            if not path.exists():
                raise NotFound(f"{uri}: no such file or folder")
            if path.is_dir() and not any(path.iterdir()):
                raise InputError(f"{uri}: the folder is empty")
        return path
    remote = parse_remote(uri)
    single = None if uri.partition("?")[0].endswith("/") else object_store.head(remote)
    files = [single] if single else object_store.files(remote)
    if not files:
        raise NotFound(f"{uri}: no such file or folder in the object store")
    root = uri
    if single:
        location, mark, query = uri.partition("?")
        root = location.rpartition("/")[0] + mark + query
    place = get_or_create(
        "\n".join([root, *[f"{file.name} {file.size} {file.etag}" for file in files]]),
        lambda folder: download(root, [Expected(f.name, f.size, f.etag) for f in files], folder),
    )
    return place / single.name if single else place
