"""Files on a disk with the semantics of an object store: atomic writes, ETags, conditional writes.

The ETag of a file is the SHA-256 of its content.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sharpen.errors import InputError, NoSpace, is_full
from sharpen.uri import NotFound, PreconditionFailed, StoredFile

_CHUNK = 2**20


@contextmanager
def translate_os_errors(path: Path | str) -> Iterator[None]:
    """Turn errors of the operating system that a user can mend into one line.

    Raises:
        NoSpace: the disk or the quota is full.
        InputError: no right, a folder where a file is due or the other way round, a name that is too long.
    """
    try:
        yield
    except OSError as error:
        named = error.filename or path
        if is_full(error):
            raise NoSpace(f"{path}: no space left on the disk; free some space or choose another place") from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise InputError(f"{path}: no right to write or read here ({error.strerror}: {named})") from None
        if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EEXIST, errno.ELOOP):
            raise InputError(f"{path}: not a usable path ({error.strerror}: {named})") from None
        raise


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path) -> tuple[bytes, str]:
    """Content and ETag of a file. Raises NotFound."""
    with translate_os_errors(path):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise NotFound(f"{path}: no such file") from None
    return data, hashlib.sha256(data).hexdigest()


def read_with_age(path: Path) -> tuple[bytes, str, float]:
    """Content and ETag of a file, and the seconds since it was written. Raises NotFound.

    Now is when a file is written beside it, as a disk of another machine has that machine's clock.
    """
    data, etag = read(path)
    check = temp_sibling(path)
    try:
        check.touch()
        now = check.stat().st_mtime
    except OSError:
        now = time.time()
    finally:
        check.unlink(missing_ok=True)
    return data, etag, now - path.stat().st_mtime


def write(path: Path, data: bytes, *, if_match: str | None = None, if_absent: bool = False) -> str:
    """Replace a file atomically and return its ETag. Raises PreconditionFailed when the condition does not hold."""
    with translate_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A writer without a condition leaves no lock behind, but must respect one that is in use.
        if if_match is None and not if_absent and not _lock_of(path).exists():
            replace(path, data)
        else:
            with locked(_lock_of(path)):
                if if_absent and path.exists():
                    raise PreconditionFailed(f"{path}: exists already")
                if if_match is not None and (not path.exists() or sha256_of(path) != if_match):
                    raise PreconditionFailed(f"{path}: changed by somebody else")
                replace(path, data)
    return hashlib.sha256(data).hexdigest()


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def is_internal_file(name: str) -> bool:
    """True for lock and temporary files, which no listing shows."""
    return name.startswith(".") and (name.endswith(".lock") or ".writing-" in name)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a lock file; the kernel frees it when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def temp_sibling(path: Path) -> Path:
    """An unused name in the same folder, for what will be renamed to `path` when it is whole."""
    return path.with_name(f".{path.name}.writing-{secrets.token_hex(6)}")


def delete_half_written(path: Path) -> None:
    """Delete what writers of a file or folder that died left beside it."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.writing-*"):
        delete(left)


def open_private(path: Path, mode: str, **options: Any) -> Any:
    """Open a file as `open` does; made with no right for others, which one that is there loses."""
    file = open(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600), **options)  # noqa: SIM115
    os.fchmod(file.fileno(), 0o600)
    return file


def replace(path: Path, data: bytes, *, private: bool = False) -> None:
    """Replace a file atomically: after a full disk or a kill the old one is there, whole, or none.

    Args:
        path: the file, in a folder that exists.
        data: its new content.
        private: only its owner can read it, from the first byte on.
    """
    temporary = temp_sibling(path)
    try:
        with (open_private if private else open)(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def files(folder: Path) -> list[StoredFile]:
    """Every file below a folder, sorted by name."""
    found = []
    with translate_os_errors(folder):
        for path in folder.rglob("*") if folder.is_dir() else ():
            if path.is_file() and not any(is_internal_file(part) for part in path.relative_to(folder).parts):
                name = path.relative_to(folder).as_posix()
                found.append(StoredFile(str(path), name, path.stat().st_size, sha256_of(path)))
    return sorted(found, key=lambda file: file.name)


def folders(folder: Path) -> list[str]:
    """Names of the folders directly below, sorted."""
    with translate_os_errors(folder):
        if not folder.is_dir():
            return []
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and not is_internal_file(path.name))


def delete(path: Path) -> None:
    """Delete a file or a whole folder; nothing there is no fault."""
    with translate_os_errors(path):
        if path.is_dir() and not path.is_symlink():
            # out of sight at once, so that nobody reads a folder that is half gone
            doomed = temp_sibling(path)
            path.rename(doomed)
            shutil.rmtree(doomed)
        else:
            path.unlink(missing_ok=True)


def probe(path: Path, *, write: bool) -> None:
    """Check that files can be written at a path (its folder is made), or that what is there can be read."""
    with translate_os_errors(path):
        if not write:
            if path.exists() and not os.access(path, os.R_OK):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(path))
        place = path if path.is_dir() else path.parent
        place.mkdir(parents=True, exist_ok=True)
        check = temp_sibling(place / "check")
        check.write_bytes(b"x" * 4096)
        check.unlink()
