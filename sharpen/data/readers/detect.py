"""What stands at an address that a user names: which kind of input, and which of its files are read."""

from __future__ import annotations

from collections.abc import Iterable

from sharpen.data.readers.data_format import DataFormat, InputFile, last_part
from sharpen.data.readers.formats import FORMATS
from sharpen.errors import InputError
from sharpen.store import storage

EXPECTED = "expected " + ", ".join(format.expected for format in FORMATS[:-1]) + f" or {FORMATS[-1].expected}"


def detect_inputs(address: str) -> list[InputFile]:
    """Find out what an address holds, and bring it to this machine. A folder of rows gives an input per file.

    Raises:
        InputError: nothing there, no usable file, an unfinished data set, an empty file.
    """
    for known in FORMATS:
        if found := known.find(address):
            return [found]
    path = storage.localize(address)
    if path.is_file():
        inputs = [InputFile(address, input_name(address), format_of_file(address, path.name), {path.name: path})]
    elif not path.is_dir():
        raise InputError(
            f"{address}: cannot be read: it is a pipe, a socket or a device; write the data to a file and name that"
        )
    else:
        inside = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
        chosen, names = format_of_folder(address, inside)
        if chosen.suffixes:
            addresses = {name: storage.join(address, name) for name in names}
            inputs = [InputFile(at, input_name(at), chosen, {name: path / name}) for name, at in addresses.items()]
        else:
            inputs = [InputFile(address, input_name(address), chosen, {name: path / name for name in names})]
    refuse_empty(item.shown(name) for item in inputs for name, file in item.files.items() if not file.stat().st_size)
    return inputs


def refuse_empty(names: Iterable[str]) -> None:
    """Raise InputError when there are any names, those of empty files."""
    if empty := list(names):
        raise InputError([f"{name}: the file is empty; fill it or leave it out" for name in empty])


def format_of_file(address: str, name: str) -> DataFormat:
    """The format of a single file. Raises InputError when it has none."""
    if found := next((known for known in FORMATS if known.takes(name)), None):
        return found
    raise InputError(f"{address}: not a file that can be read; {EXPECTED}")


def format_of_folder(address: str, names: Iterable[str]) -> tuple[DataFormat, list[str]]:
    """The format of a folder with files of these names, and the files to read.

    Args:
        address: the folder, for messages.
        names: names of its files relative to it, as a store or a file system lists them.

    Raises:
        InputError: no usable file, or a folder of a known format that lacks something.
    """
    present = {name for name in names if not any(part.startswith(".") for part in name.split("/"))}
    for known in FORMATS:
        if selected := known.select(address, present) or sorted(
            name for name in present if "/" not in name and known.takes(name)
        ):
            return known, selected
    raise InputError(f"{address}: no file that can be read; {EXPECTED}")


def input_name(address: str) -> str:
    """The name of a source: last part of the address without the suffixes of a file of rows."""
    name = last_part(address).removesuffix(".gz")
    for suffix in (suffix for known in FORMATS for suffix in known.suffixes):
        name = name.removesuffix(suffix)
    return name or "data"
