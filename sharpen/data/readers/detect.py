"""What stands at an address that a user names: which kind of input, and which of its files are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sharpen.data.readers.data_format import DataFormat, InputFile, last_part
from sharpen.data.readers.formats import FORMATS
from sharpen.data.readers.globs import WILDCARD, expand
from sharpen.data.readers.lines import uncompressed_name
from sharpen.data.source_settings import SourceSettings, source_at
from sharpen.errors import InputError
from sharpen.store import storage

_EXPECTED = list(dict.fromkeys(known.expected for known in FORMATS))
EXPECTED = f"expected {', '.join(_EXPECTED[:-1])} or {_EXPECTED[-1]}"


def detect_inputs(source: str | SourceSettings, addresses: Iterable[str] | None = None) -> list[InputFile]:
    """Find out what a source holds, and bring it to this machine. Files of rows are an input each.

    Args:
        source: an address, which may have wildcards, or an address with settings: then all inputs are one source.
        addresses: of those of its files that are wanted; None: all.

    Raises:
        InputError: nothing there, no usable file, an unfinished data set, an empty file.
    """
    settings = source if isinstance(source, SourceSettings) else source_at(source)
    wanted = expand(settings.address) if addresses is None else addresses
    inputs = [item for address in wanted for item in _detect(address)]
    return inputs if settings.is_plain else _with_settings(inputs, settings)


def _with_settings(inputs: list[InputFile], settings: SourceSettings) -> list[InputFile]:
    """The inputs of a source with settings: files of one format together."""
    name = source_name(settings)
    joined: dict[str, InputFile] = {}
    made = []
    for item in inputs:
        if not item.format.suffixes:
            made.append(replace(item, settings=settings))
            continue
        files = dict.fromkeys([item.address], *item.files.values())
        before = joined.get(item.format.name)
        files = {**before.files, **files} if before else files
        joined[item.format.name] = InputFile(settings.address, name, item.format, files, settings=settings)
    return [*made, *joined.values()]


def _detect(address: str) -> list[InputFile]:
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
    for known in FORMATS:
        # partitions, such as year=2026/month=01/part-0.parquet
        if selected := sorted(name for name in present if known.takes(name)):
            return known, selected
    raise InputError(f"{address}: no file that can be read; {EXPECTED}")


def input_name(address: str) -> str:
    """The name of a source: last part of the address without the suffixes of a file of rows."""
    name = uncompressed_name(last_part(address))
    for suffix in (suffix for known in FORMATS for suffix in known.suffixes):
        name = name.removesuffix(suffix)
    return name or "data"


def source_name(settings: SourceSettings) -> str:
    """The name of a source with settings: the one that it is given, else the end of the address before wildcards."""
    if settings.name:
        return settings.name
    parts = settings.address.partition("?")[0].rstrip("/").split("/")
    plain = [part for part in parts if not WILDCARD.search(part)]
    return input_name("/".join(plain)) if plain and len(plain) < len(parts) else input_name(settings.address)
