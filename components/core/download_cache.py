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
from pathlib import Path

from components.core import local_store, object_store
from components.core.addresses import NotFound, StoredFile, is_remote, local_path, parse_remote, safe_name
from components.core.errors import InputError, StepFailed
from components.core.progress import progress

CACHE_VARIABLE = "SHARPEN_CACHE"
# below this, a transfer is over before a reader has read a line about it
SHOWN_BYTES = 64 * 2**20


def cache_folder() -> Path:
    """The cache's folder, made if need be; only its owner can read it, since models and data may be private."""
    named = os.environ.get(CACHE_VARIABLE)
    folder = Path(named).expanduser() if named else Path.home() / ".cache" / "sharpen"
    with local_store.told(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "entries").mkdir(exist_ok=True, mode=0o700)
    return folder


def entry(key: str, *, whole: Callable[[Path], bool], fill: Callable[[Path], None]) -> Path:
    """The cached folder for `key`.

    Args:
        key: what identifies the content; hashed to make the folder's name.
        whole: says whether a cached folder can be used; a damaged one is filled again.
        fill: writes the content into an empty folder, or raises.
    """
    place = cache_folder() / "entries" / hashlib.sha256(key.encode()).hexdigest()[:40]
    if place.is_dir() and whole(place):
        return place
    with local_store.told(place), local_store.locked(place.with_name(f".{place.name}.lock")):
        if place.is_dir():
            if whole(place):
                return place
            local_store.delete(place)
        fresh = local_store.beside(place)
        fresh.mkdir(mode=0o700)
        try:
            fill(fresh)
            fresh.rename(place)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    return place


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


def download(root: str, names: Sequence[str], sizes: Sequence[int], folder: Path) -> None:
    """Fetch the files `names` below `root` into a folder and check their sizes in bytes."""
    remote = parse_remote(root)
    with transfer(f"download {root}", sum(sizes)) as done:
        for name, size in zip(names, sizes, strict=True):
            path = folder / safe_name(name, root)
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            object_store.download(remote.below(name), path, done)
            if path.stat().st_size != size:
                raise StepFailed(f"{root}: {name} changed while it was read; try again")


def fetch(uri: str) -> Path:
    """A file or folder that the user named, as a local path; remote ones are cached by their ETags.

    Raises:
        InputError: nothing is there, or the folder has no files.
    """
    if not is_remote(uri):
        path = local_path(uri)
        if not path.exists():
            raise NotFound(f"{uri}: no such file or folder")
        if path.is_dir() and not any(path.iterdir()):
            raise InputError(f"{uri}: the folder is empty")
        return path
    remote = parse_remote(uri)
    single = None if uri.partition("?")[0].endswith("/") else object_store.find_file(remote)
    files = [single] if single else object_store.files(remote)
    if not files:
        raise NotFound(f"{uri}: no such file or folder in the object store")
    root = uri
    if single:
        location, mark, query = uri.partition("?")
        root = location.rpartition("/")[0] + mark + query
    place = entry(
        "\n".join([root, *[f"{file.name} {file.size} {file.etag}" for file in files]]),
        whole=lambda folder: _sizes_agree(folder, files),
        fill=lambda folder: download(root, [f.name for f in files], [f.size for f in files], folder),
    )
    return place / single.name if single else place


def _sizes_agree(folder: Path, files: Sequence[StoredFile]) -> bool:
    return all((path := folder / file.name).is_file() and path.stat().st_size == file.size for file in files)
