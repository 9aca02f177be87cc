"""The answers that were given, one line each in one file that is only ever appended to.

A line is written when its answer arrives, before anything else is made of it. So after a kill at any moment nothing
that was answered is asked again; of a line that was being written when the process died, what is there is cut off.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sharpen.errors import InputError, SharpenError
from sharpen.language_model.settings import LanguageModelSettings
from sharpen.store import local_store, storage
from sharpen.store.download_cache import cache_folder
from sharpen.typed_json import sha256_json

logger = logging.getLogger(__name__)

# an object store cannot append: the whole file is written at most so often, and at the end
UPLOAD_SECONDS = 60.0


class Record(BaseModel):
    """An answer.

    Attributes:
        request: `ChatRequest.key`.
        status: ``answered``, or ``refused``: the endpoint does not take this request.
        content: what the model wrote, unchecked.
        tokens: each token of it with log probabilities of the likeliest ones, where they were asked for and given.
        model: as the endpoint names it.
        input_tokens, output_tokens: of the request.
        estimated: the endpoint did not count; the numbers are from the lengths of the texts.
        message: why it was refused.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    request: str
    status: str = Field(pattern="^(answered|refused)$")
    content: str | None = None
    tokens: list[tuple[str, dict[str, float]]] | None = None
    model: str = ""
    input_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    estimated: bool = False
    message: str = ""


class Journal:
    """The journal of one language model; several threads may add to it, but only one process opens it.

    Args:
        path: of the file.
        remote: address of its copy in an object store; empty: none.
    """

    def __init__(self, path: Path, remote: str = "") -> None:
        self.path, self.remote = path, remote
        self.records: dict[str, Record] = {}
        self._lock = threading.Lock()
        self._uploaded = time.monotonic()
        self._file: int | None = None

    def get(self, key: str) -> Record | None:
        """The answer to a request, if there is one."""
        return self.records.get(key)

    def add(self, record: Record) -> None:
        """Write an answer; it is on the disk when this returns."""
        assert self._file is not None
        line = json.dumps(record.model_dump(exclude_defaults=True), ensure_ascii=True) + "\n"
        with self._lock:
            os.write(self._file, line.encode())
            os.fsync(self._file)
            self.records[record.request] = record
            due = bool(self.remote) and time.monotonic() - self._uploaded > UPLOAD_SECONDS
            if due:
                self._upload()

    def _load(self, data: bytes, where: str) -> None:
        for number, line in enumerate(data.split(b"\n")[:-1], start=1):
            try:
                record = Record.model_validate(json.loads(line))
            except (ValueError, RecursionError, ValidationError):
                raise InputError(f"{where}, line {number}: not an answer in a journal; delete the line") from None
            self.records[record.request] = record

    def _upload(self) -> None:
        self._uploaded = time.monotonic()
        try:
            storage.write_bytes(self.remote, self.path.read_bytes())
        except SharpenError as error:
            logger.warning(f"note: the journal is not in the store for now: {error}")

    @contextlib.contextmanager
    def opened(self) -> Iterator[Journal]:
        """A block in which it can be added to.

        Raises:
            InputError: another process has it open, it cannot be written, or a line of it is damaged.
        """
        with local_store.translate_os_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"{self.path}: another process asks this language model now; wait for it, or name another journal"
                ) from None
            self._begin()
            yield self
        finally:
            if self.remote and self.records:
                self._upload()
            os.close(self._file)
            self._file = None

    def _begin(self) -> None:
        assert self._file is not None
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._file, whole)
        self._load(data[:whole], str(self.path))
        if self.remote and storage.exists(self.remote):
            here, data = set(self.records), storage.read_bytes(self.remote)
            self._load(data[: data.rfind(b"\n") + 1], self.remote)
            for key in self.records.keys() - here:
                line = json.dumps(self.records[key].model_dump(exclude_defaults=True)) + "\n"
                os.write(self._file, line.encode())


def open_journal(settings: LanguageModelSettings) -> Journal:
    """The journal of the settings' language model; each model has a file."""
    setting, group = settings.journal, settings.group
    name = f"{sha256_json(settings.model)[:16]}.jsonl"
    if setting == "auto":
        return Journal(cache_folder() / group / name)
    if not storage.is_remote(setting):
        return Journal(Path(setting).expanduser() / name)
    remote = storage.join(setting, name)
    return Journal(cache_folder() / group / f"{sha256_json(remote)[:16]}.jsonl", remote)
