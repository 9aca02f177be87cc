"""What stands behind the addresses of a run, as one hash: while it is the same, a step's cached result is right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from components.core import model_folder, object_store, storage
from components.core.addresses import parse_remote
from components.core.errors import InputError
from components.core.readers import kind_of, locate, split_addresses, stem
from components.core.readers.places import EXPECTED, is_rows
from components.data_prep.python_files import is_python_source, python_files, source_name
from components.data_prep.python_source import python_version

FILE = "file:"


def fingerprint(
    train_data: str | list[str],
    eval_data: str | list[str],
    base_model: str,
    code_version: str,
    mined_with: Sequence[str] = (),
) -> str:
    """SHA-256 (hex) of the content of data and models, and of the code's version.

    Local files count by name and content, remote ones by name, size and ETag (nothing is downloaded), Python code by
    content and interpreter, a model of the hub by its id and revision. Neither the order of the addresses nor the
    place of a local folder matters.

    Args:
        train_data: addresses as `split_addresses` takes them.
        eval_data: the same; may be empty.
        base_model: what `Encoder.load` takes.
        code_version: version of the code that will read the data.
        mined_with: other models that mining uses, and after ``file:`` the files that it reads.

    Raises:
        InputError: something is missing, empty or of no known kind, no access, store unreachable. All faults are told
            together, so that a run can be mended at once.
    """
    faults: list[str] = []
    parts: dict[str, list[object]] = {"train": [], "eval": [], "model": [], "mining": []}
    trained = split_addresses(train_data)
    if not trained:
        faults.append("train_data: no address given; name a file, a folder or python-source:stdlib")
    for role, addresses in (("train", trained), ("eval", split_addresses(eval_data))):
        for address in addresses:
            try:
                parts[role].append(content_of(address))
            except InputError as error:
                faults += [f"{role}_data: {line}" for line in error.faults]
    try:
        parts["model"].append(_model(base_model))
    except InputError as error:
        faults += [f"base_model: {line}" for line in error.faults]
    for address in mined_with:
        try:
            named = address.removeprefix(FILE)
            parts["mining"].append(_file(named) if named != address else _model(address))
        except InputError as error:
            faults += [f"mining: {line}" for line in error.faults]
    if faults:
        raise InputError(faults)
    known = {role: sorted(json.dumps(part) for part in found) for role, found in parts.items()}
    return hashlib.sha256(json.dumps([known, code_version], sort_keys=True).encode()).hexdigest()


def content_of(address: str) -> list[object]:
    """Name and content of one input, as a value that JSON can hold. Raises InputError as `fingerprint`."""
    if is_python_source(address):
        hashed = [(file.name, _sha256(file.path)) for file in python_files(address)]
        return [source_name(address), python_version(), _digest(hashed)]
    if storage.is_finished(address):
        return _finished(address)
    if storage.is_remote(address):
        return [stem(address), _digest(_remote_files(address))]
    places = locate(address)
    return [
        [stem(place.address), _digest((name, _sha256(place.folder / name)) for name in place.names)] for place in places
    ]


def content_hash(address: str) -> str:
    """SHA-256 (hex) of one input's content; errors as `fingerprint`."""
    return hashlib.sha256(json.dumps(content_of(address)).encode()).hexdigest()


def _remote_files(address: str) -> list[tuple[str, int, str]]:
    """Name, size and ETag of the files that would be read. Raises InputError as `locate`."""
    remote = parse_remote(address)
    single = None if address.partition("?")[0].endswith("/") else object_store.find_file(remote)
    if single:
        files, names = [single], [single.name]
        if not is_rows(single.name):
            raise InputError(f"{address}: not a file that can be read; {EXPECTED}")
    else:
        files = storage.list_files(address)
        if not files:
            raise InputError(f"{address}: no such file or folder in the object store")
        names = kind_of(address, [file.name for file in files])[1]
    found = [(file.name, file.size, file.etag) for file in files if file.name in set(names)]
    if empty := [name for name, size, _ in found if not size]:
        raise InputError([f"{address}: {name} is empty; fill it or leave it out" for name in empty])
    return found


def _finished(address: str) -> list[object]:
    files = storage.read_marker(address).files
    return [stem(address), _digest((file["name"], file["sha256"]) for file in files)]


def _file(address: str) -> list[object]:
    """A file, or the files of a folder, of any kind."""
    if storage.is_remote(address):
        single = object_store.find_file(parse_remote(address))
        files = [single] if single else storage.list_files(address)
        if not files:
            raise InputError(f"{address}: no such file or folder in the object store")
        return [_digest((file.name, file.size, file.etag) for file in files)]
    path = storage.fetch(address)
    paths = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return [_digest((file.name, _sha256(file)) for file in paths)]


def _model(model: str) -> list[object]:
    if not model:
        raise InputError("no model given; name a folder, an s3:// address or a hub id")
    if storage.is_remote(model):
        if storage.is_finished(model):
            return _finished(model)[1:]
        files = storage.list_files(model)
        names = {file.name for file in files}
        if not files:
            raise InputError(f"{model}: no such folder in the object store")
        model_folder.check_names(model, names)
        return [_digest((file.name, file.size, file.etag) for file in files)]
    if model_folder.is_hub_id(model):
        return [f"hub:{model}@{_hub_revision(model)}"]
    folder = model_folder.locate(model)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return [_digest((path.relative_to(folder).as_posix(), _sha256(path)) for path in paths)]


def _hub_revision(model: str) -> str:
    """The commit that a hub id means now. Raises InputError: no such model, or the hub cannot be reached."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(model, "config.json")).parent.name
    except Exception as error:  # the hub client has a dozen classes for "not found" and "no network"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{model}: neither a folder here nor a model that the hub gives ({reason})") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(rows: Iterable[tuple]) -> str:
    return hashlib.sha256(json.dumps(sorted(rows)).encode()).hexdigest()
