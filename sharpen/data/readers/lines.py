"""Lines of a text file, plain or compressed, with their numbers."""

from __future__ import annotations

import gzip
import io
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from sharpen.errors import InputError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# UTF-32 (little-endian) begins like UTF-16
_MARKS_OF_OTHER_ENCODINGS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


COMPRESSED = (".gz", ".zst")
"""Endings of compressed files."""


def uncompressed_name(name: str) -> str:
    """The name of a file without the ending that says how it is compressed."""
    return name.removesuffix(".gz").removesuffix(".zst")


@contextmanager
def opened(path: Path, shown: str) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The file on disk and, for ``.gz`` and ``.zst``, its decompressed content; the same object twice for others.

    Raises:
        InputError: no such file, not a regular file (a pipe would be waited for, and can be read only once), no right
            to read it, or damaged compressed data.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            what = "a folder" if path.is_dir() else "a pipe, a socket or a device"
            raise InputError(f"{shown}: cannot be read: it is {what}; write the data to a file and name that")
        file = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{shown}: no such file") from None
    except OSError as error:
        raise InputError(f"{shown}: cannot be read ({error.strerror})") from None
    with file, _decompressed(file, path.suffix) as content:
        try:
            yield file, content
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"{shown}: damaged gzip file ({error}); compress it again") from None
        except (pa.ArrowException, OSError) as error:
            if path.suffix != ".zst":
                raise
            reason = str(error).split("\n", 1)[0][:200]
            raise InputError(f"{shown}: damaged zstd file ({reason}); compress it again") from None


def _decompressed(file: BinaryIO, suffix: str) -> AbstractContextManager[BinaryIO]:
    if suffix == ".gz":
        return gzip.open(file)  # type: ignore[return-value]
    if suffix == ".zst":
        return io.BufferedReader(pa.CompressedInputStream(file, "zstd"), 2**20)  # type: ignore[arg-type]
    return nullcontext(file)


def read_lines(path: Path, shown: str, on_bytes: Callable[[int], None]) -> Iterator[tuple[int, bytes]]:
    """Line number (from 1) and bytes of every line that is not blank, without line end and byte order mark.

    Lines end with ``\\n``, ``\\r\\n`` or, as on old Macs, ``\\r``. A file whose name ends with ``.gz`` is decompressed;
    `on_bytes` counts the bytes on disk.

    Args:
        path: the file.
        shown: its address, for messages.
        on_bytes: is called with the bytes on disk that were read.

    Raises:
        InputError: as `opened`; also for a byte order mark of UTF-16 or UTF-32.
    """
    seen, number, report_at = 0, 0, 1000
    with opened(path, shown) as (file, lines):
        for line in lines:
            if number == 0:
                line = without_mark(line, shown)
            for part in line.rstrip(b"\r\n").split(b"\r"):
                number += 1
                if part := part.strip(b" \t"):
                    yield number, part
            if number >= report_at:
                on_bytes(file.tell() - seen)
                seen, report_at = file.tell(), number + 1000
        on_bytes(file.tell() - seen)


def without_mark(data: bytes, shown: str) -> bytes:
    """The beginning of a file without UTF-8's byte order mark. Raises InputError for one of another encoding."""
    if data.startswith(_MARKS_OF_OTHER_ENCODINGS):
        raise InputError(f"{shown}: is UTF-16 or UTF-32 text; save it as UTF-8")
    return data.removeprefix(BYTE_ORDER_MARK)
