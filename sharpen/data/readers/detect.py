"""What stands at an address that a user names: which kind of input, and which of its files are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sharpen.data.readers.beir import SPLIT_OF_FILE
from sharpen.errors import InputError
from sharpen.store import storage

EXPECTED = (
    "expected FlagEmbedding rows (*.jsonl, *.json), a BEIR folder (corpus.jsonl, queries.jsonl, qrels/*.tsv) or a "
    "finished data set"
)


class InputFormat(StrEnum):
    """The kinds of input."""

    FINISHED = "finished data set"
    BEIR = "BEIR"
    FLAGEMBEDDING = "FlagEmbedding"


@dataclass(frozen=True)
class InputFile:
    """An input on this machine.

    Attributes:
        address: as the user knows it; for FlagEmbedding rows the address of one file.
        kind: how it is read.
        folder: local folder.
        names: the files to read, relative to `folder`.
    """

    address: str
    kind: InputFormat
    folder: Path
    names: list[str]

    @property
    def paths(self) -> list[Path]:
        """The files to read."""
        return [self.folder / name for name in self.names]

    def shown(self, name: str) -> str:
        """The address of one of the files, for reports."""
        return self.address if self.kind is InputFormat.FLAGEMBEDDING else storage.join(self.address, name)


def detect_inputs(address: str) -> list[InputFile]:
    """Find out what an address holds, and bring it to this machine. A folder of rows gives a place per file.

    Raises:
        InputError: nothing there, no usable file, an unfinished data set, an empty file.
    """
    if storage.is_complete(address):
        folder = storage.open_artifact(address)
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet"))
        return [InputFile(address, InputFormat.FINISHED, folder, names)]
    path = storage.localize(address)
    if path.is_file():
        if not is_rows(path.name):
            raise InputError(f"{address}: not a file that can be read; {EXPECTED}")
        places = [InputFile(address, InputFormat.FLAGEMBEDDING, path.parent, [path.name])]
    elif not path.is_dir():
        raise InputError(
            f"{address}: cannot be read: it is a pipe, a socket or a device; write the data to a file and name that"
        )
    else:
        inside = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
        kind, names = kind_of(address, inside)
        if kind is InputFormat.BEIR:
            places = [InputFile(address, kind, path, names)]
        else:
            places = [InputFile(storage.join(address, name), kind, path, [name]) for name in names]
    named = [(place, name) for place in places for name in place.names]
    if empty := [place.shown(name) for place, name in named if not (place.folder / name).stat().st_size]:
        raise InputError([f"{name}: the file is empty; fill it or leave it out" for name in empty])
    return places


def kind_of(address: str, names: Iterable[str]) -> tuple[InputFormat, list[str]]:
    """The kind of a folder with files of these names, and the files to read, sorted.

    Args:
        address: the folder, for messages.
        names: names of its files relative to it, as a store or a file system lists them.

    Raises:
        InputError: no usable file, or a folder of a known kind that lacks something.
    """
    present = {name for name in names if not any(part.startswith(".") for part in name.split("/"))}
    if any(name.endswith(".parquet") for name in present):
        raise InputError(f"{address}: an unfinished data set (no {storage.MARKER}); run the step that writes it again")
    corpus, queries = _plain_or_gz(present, "corpus.jsonl"), _plain_or_gz(present, "queries.jsonl")
    if corpus or queries:
        judged = sorted(filter(None, (_plain_or_gz(present, f"qrels/{name}.tsv") for name in SPLIT_OF_FILE)))
        missing = [
            what
            for what, found in (("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels/*.tsv", judged))
            if not found
        ]
        if not (corpus and queries and judged):
            expected = "; the files in qrels/ are train.tsv, dev.tsv, test.tsv" if not judged else ""
            raise InputError(f"{address}: looks like a BEIR folder, but lacks {', '.join(missing)}{expected}")
        return InputFormat.BEIR, [corpus, queries, *judged]
    rows = sorted(name for name in present if "/" not in name and is_rows(name))
    if not rows:
        raise InputError(f"{address}: no file that can be read; {EXPECTED}")
    return InputFormat.FLAGEMBEDDING, rows


def is_rows(name: str) -> bool:
    """Whether a file of this name is read as FlagEmbedding rows."""
    return name.removesuffix(".gz").endswith((".jsonl", ".json"))


def input_name(address: str) -> str:
    """The name of a source: last part of the address without the suffixes of a file of rows."""
    location = address.partition("?")[0] if storage.is_remote(address) else str(Path(address).expanduser().resolve())
    name = location.rstrip("/").rpartition("/")[2].removesuffix(".gz")
    return name.removesuffix(".jsonl").removesuffix(".json") or "data"


def _plain_or_gz(present: set[str], name: str) -> str:
    return name if name in present else f"{name}.gz" if f"{name}.gz" in present else ""
