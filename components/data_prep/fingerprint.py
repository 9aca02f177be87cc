"""What stands behind the addresses of a run, as one hash: while it is the same, a step's cached result is right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from components.core import model_folder, object_store, storage
from components.core.addresses import parse_remote
from components.core.errors import InputError
from components.core.readers import kind_of, locate, split_addresses, stem
from components.core.readers.places import EXPECTED, is_rows
from components.data_prep.python_files import is_python_source, python_files, source_name
from components.data_prep.python_source import python_version

FILE = "file:"


@dataclass(frozen=True)
class Content:
    """What stands behind the addresses of a run, each as a text that is equal for equal content.

    Attributes:
        train, eval: data of the two roles.
        base_model: the model that results are compared with.
        start_model: the model that training starts from, where it is another; else empty.
        mining: other models, and files, that mining reads.
    """

    train: str
    eval: str
    base_model: str
    start_model: str
    mining: str

    def fingerprint(self, code_version: str) -> str:
        """SHA-256 (hex) of all of it and of the code's version."""
        return digest([*asdict(self).values(), code_version])


def look(
    train_data: str | list[str],
    eval_data: str | list[str],
    base_model: str,
    mined_with: Sequence[str] = (),
    start_model: str = "",
) -> Content:
    """Find out what stands behind the addresses of a run.

    Local files count by name and content, remote ones by name, size and ETag (nothing is downloaded), Python code by
    content and interpreter, a model of the hub by its id and revision. Neither the order of the addresses nor the
    place of a local folder matters.

    Args:
        train_data: addresses as `split_addresses` takes them.
        eval_data: the same; may be empty.
        base_model: what `Encoder.load` takes.
        mined_with: other models that mining uses, and after ``file:`` the files that it reads.
        start_model: model that training starts from; empty: the base model.

    Raises:
        InputError: something is missing, empty or of no known kind, no access, store unreachable. All faults are told
            together, so that a run can be mended at once.
    """
    faults: list[str] = []
    trained = split_addresses(train_data)
    if not trained:
        faults.append("train_data: no address given; name a file, a folder or python-source:stdlib")

    def known(role: str, addresses: Sequence[str], content: Callable[[str], list[object]]) -> str:
        parts = []
        for address in addresses:
            try:
                parts.append(json.dumps(content(address)))
            except InputError as error:
                faults.extend(f"{role}: {line}" for line in error.faults)
        return json.dumps(sorted(parts))

    other_start = [start_model] if start_model and start_model != base_model else []
    found = Content(
        train=known("train_data", trained, content_of),
        eval=known("eval_data", split_addresses(eval_data), content_of),
        base_model=known("base_model", [base_model], _model),
        start_model=known("start model", other_start, _model),
        mining=known("mining", mined_with, _model_or_file),
    )
    if faults:
        raise InputError(faults)
    return found


def digest(value: object) -> str:
    """SHA-256 (hex) of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


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
    return digest(content_of(address))


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


def _model_or_file(address: str) -> list[object]:
    named = address.removeprefix(FILE)
    return _file(named) if named != address else _model(address)


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
    return digest(sorted(rows))
