"""What a kind of input is: how it is recognised, and how it is read. `formats.FORMATS` lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from sharpen.data.dataset import DataSet
from sharpen.data.readers.lines import uncompressed_name
from sharpen.data.readers.rows import ReadReport
from sharpen.data.source_settings import SourceSettings, source_at
from sharpen.store import storage


def last_part(address: str) -> str:
    """The last part of an address: name of a file or folder, local or remote."""
    location = address.partition("?")[0] if storage.is_remote(address) else str(Path(address).expanduser().resolve())
    return location.rstrip("/").rpartition("/")[2]


@dataclass(frozen=True)
class InputFile:
    """An input on this machine.

    Attributes:
        address: as the user knows it; of a format of single files, the address of one file, but for a source with
            settings, whose files are one input.
        name: of the source, without what makes it unique.
        format: how it is read.
        files: name -> local path of the files to read.
        version: what the result depends on besides the files; empty for nothing.
        settings: what the user said of the source besides its address; None: nothing.
        pool: ids of the source's candidate pool, to which a click log may refer; None: it has none.
    """

    address: str
    name: str
    format: DataFormat
    files: Mapping[str, Path]
    version: str = ""
    settings: SourceSettings | None = None
    pool: frozenset[str] | None = None

    @property
    def source(self) -> SourceSettings:
        """The settings of the source, also where the user named an address alone."""
        return self.settings or source_at(self.address)

    def shown(self, name: str) -> str:
        """The address of one of the files, for reports."""
        if self.format.suffixes:
            # of a source with settings the files are named by their addresses
            return name if self.settings else self.address
        return storage.join(self.address, name)


Read: TypeAlias = Callable[[InputFile, str, str, ReadReport], DataSet]


@dataclass(frozen=True)
class DataFormat:
    """A kind of input; one of `suffixes`, `select` and `find` says how it is recognised.

    Attributes:
        name: in reports.
        expected: what to name in a message about input that no format takes.
        read: (input, name of the source, split of rows that bring none, report) -> data set; bad rows go to the report.
        suffixes: of files, each of which is an input; ``.gz`` or ``.zst`` may follow.
        select: (address, names of all files in the folder) -> those that are read; none: not this format. Raises
            InputError for a folder that lacks something.
        find: the input at an address that is no file or folder of files; None: not this format.
    """

    name: str
    expected: str
    read: Read
    suffixes: tuple[str, ...] = ()
    select: Callable[[str, set[str]], list[str]] = lambda address, names: []
    find: Callable[[str], InputFile | None] = lambda address: None

    def takes(self, name: str) -> bool:
        """Whether a single file of this name is an input."""
        return bool(self.suffixes) and uncompressed_name(name).endswith(self.suffixes)
