"""Folders that are published whole or not at all, with a marker that lists every file and its SHA-256."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sharpen.errors import InputError, NoSpace, StepFailed, is_full
from sharpen.store import download_cache, local_folder, local_store, object_store
from sharpen.store.manifest import MARKER, Manifest, file_names, first_fault, manifest_of, parse_manifest
from sharpen.uri import NotFound, S3Uri, is_remote, local_path, parse_remote, validate_relative_path

logger = logging.getLogger(__name__)

# Names of the files of an upload in progress. What it and the last marker name may be deleted by the next writer;
# files that somebody else put there may not.
WRITING = "_WRITING.json"
# a larger local folder is not hashed again each time that it is opened
HASHED_BYTES = 2**30


def read_manifest(uri: str) -> Manifest:
    """The marker of a finished folder.

    Raises:
        InputError: the folder is not finished or not there, or the marker cannot be read.
    """
    return _marker_and_bytes(uri)[0]


def is_complete(uri: str) -> bool:
    """True when the folder has a marker."""
    if is_remote(uri):
        return object_store.head(parse_remote(uri).below(MARKER)) is not None
    with local_store.translate_os_errors(marker := local_path(uri) / MARKER):
        return marker.is_file()


def _marker_and_bytes(uri: str) -> tuple[Manifest, bytes]:
    try:
        data = (
            object_store.read(parse_remote(uri).below(MARKER))[0]
            if is_remote(uri)
            else local_store.read(local_path(uri) / MARKER)[0]
        )
    except NotFound:
        raise NotFound(
            f"{uri}: not a finished folder (no {MARKER}); the step that writes it has not ended well"
        ) from None
    return parse_manifest(uri, data), data


def open_artifact(uri: str) -> Path:
    """A finished folder as a local path, its files checked against the marker. Read it; do not write into it.

    A remote folder is downloaded once into the cache; sizes and SHA-256 are checked then. A local one is returned
    as it is, after a check of the sizes and, up to 1 GiB, of the SHA-256.

    Raises:
        InputError: no marker.
        StepFailed: a file is missing or differs from what the marker says.
    """
    marker, data = _marker_and_bytes(uri)
    if not is_remote(uri):
        with local_store.translate_os_errors(folder := local_path(uri)):
            hashes = sum(file["size"] for file in marker.files) <= HASHED_BYTES
            if wrong := first_fault(folder, marker, hashes=hashes):
                raise StepFailed(f"{uri}: {wrong} is missing or damaged, by what {MARKER} says of it; write it again")
        return folder

    def fill(folder: Path) -> None:
        files = [download_cache.Expected(file["name"], file["size"], sha256=file["sha256"]) for file in marker.files]
        download_cache.download(uri, files, folder)
        (folder / MARKER).write_bytes(data)

    return download_cache.get_or_create(uri + "\n" + data.decode(), fill)


@contextmanager
def publish(
    uri: str,
    *,
    producer: str,
    run_id: str = "",
    rows: dict[str, int] | None = None,
    facts: dict[str, Any] | None = None,
) -> Iterator[Path]:
    """Yield a local folder to write into; publish it at `uri`, marker last, when the block ends without an error.

    An older finished folder at the address is replaced; what others put into a local one stays there. If the block
    raises, nothing is published and an older folder stays as it was.

    Args:
        uri: where the folder is published.
        producer: the step's name.
        run_id: the run's name.
        rows, facts: for the marker; they may be filled in by the block, since they are read when it ends.

    Raises:
        InputError: at the start, when nothing can be written at the address or a local folder there holds other files.
        NoSpace: the disk or the store is full.
        StepFailed: the block wrote no file.
    """
    target = Path()
    if is_remote(uri):
        remote = parse_remote(uri)
        object_store.probe(remote, write=True)
        # a folder of this process in the temporary folder, which $TMPDIR moves
        folder = Path(tempfile.mkdtemp(prefix="sharpen-"))
    else:
        remote = None
        _refuse_foreign(local_path(uri))
        local_store.probe(local_path(uri), write=True)
        # a link to a folder stays one
        target = Path(os.path.realpath(local_path(uri)))
        folder = local_store.temp_sibling(target)
        folder.mkdir(parents=True)
    try:
        with _full_disk_told(folder):
            yield folder
            files = _described(uri, folder, producer)
            marker = manifest_of(
                files, producer=producer, run_id=run_id, rows=dict(rows or {}), facts=dict(facts or {})
            )
            if remote:
                _publish_remote(remote, folder, marker)
            else:
                _publish_local(target, folder, marker)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copy_artifact(source: str, target: str) -> Manifest:
    """Publish a checked copy of a finished folder; producer, run, rows and facts stay those of the source.

    Raises: as `open_artifact` for the source and `publish` for the target.
    """
    marker = read_manifest(source)
    read_from = open_artifact(source)
    with publish(target, producer=marker.producer, run_id=marker.run_id, rows=marker.rows, facts=marker.facts) as to:
        for file in marker.files:
            (to / file["name"]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(read_from / file["name"], to / file["name"])
    return read_manifest(target)


@contextmanager
def _full_disk_told(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if is_full(error):
            raise NoSpace(f"{folder}: no space left on the disk; free some space, or set TMPDIR") from None
        raise


def _refuse_foreign(path: Path) -> None:
    """A local folder that somebody else filled is not replaced: a slip in the address must not delete it."""
    if path.is_dir() and any(path.iterdir()) and not (path / MARKER).is_file():
        raise InputError(f"{path}: the folder holds files that were not written by Sharpen; name a new or empty folder")


def _described(uri: str, folder: Path, producer: str) -> list[dict[str, Any]]:
    names = file_names(folder, without=(WRITING,))
    if not names:
        raise StepFailed(f"{uri}: {producer} wrote no files; nothing was published")
    return [
        {"name": name, "size": (folder / name).stat().st_size, "sha256": local_store.sha256_of(folder / name)}
        for name in names
    ]


def _publish_local(target: Path, folder: Path, marker: Manifest) -> None:
    (folder / MARKER).write_bytes(marker.as_bytes())
    for renamed in local_folder.replace_folder(target, folder, foreign_files(target)):
        logger.info(f"{target}: {renamed}: a file that was not written by Sharpen was in the way")


def foreign_files(folder: Path) -> list[str]:
    """Names of the files in a local folder that are not those that Sharpen wrote there; empty where there is none."""
    if not folder.is_dir():
        return []
    try:
        written = parse_manifest(str(folder), (folder / MARKER).read_bytes()).files
    except (FileNotFoundError, InputError):
        written = []
    return local_folder.foreign_files(folder, written, folder / MARKER)


def _publish_remote(remote: S3Uri, folder: Path, marker: Manifest) -> None:
    names = {file["name"] for file in marker.files}
    earlier = written_before(remote.below(MARKER)) | written_before(remote.below(WRITING))
    plan = {"files": [{"name": name} for name in sorted(names | earlier)]}
    object_store.write(remote.below(WRITING), json.dumps(plan).encode())
    object_store.delete_keys(remote, [remote.prefix + MARKER])
    with download_cache.transfer(f"upload {remote.uri}", sum(file["size"] for file in marker.files)) as done:
        for name in sorted(names):
            object_store.upload(remote.below(name), folder / name, done)
    object_store.delete_keys(remote, [remote.prefix + name for name in sorted(earlier - names)])
    object_store.write(remote.below(MARKER), marker.as_bytes())
    object_store.delete_keys(remote, [remote.prefix + WRITING])


def written_before(remote: S3Uri) -> set[str]:
    """The files that a marker, or the list of an upload in progress, names; none where it is not there or not ours."""
    try:
        return {
            validate_relative_path(file["name"], remote.uri)
            for file in json.loads(object_store.read(remote)[0])["files"]
        }
    except NotFound:
        return set()
    except (ValueError, KeyError, TypeError):
        # half a marker of another program: what it names is not ours to delete
        return set()
