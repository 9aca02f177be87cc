"""Random rows, and random changes of bytes and files, for the fuzzers."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from pathlib import Path

import polars as pl
import pyarrow as pa

from tests.sharpen.data.input_files import pair

# what breaks parsers: huge and odd numbers, deep nesting, other encodings, half characters, repeated keys
TOKENS = [
    *(b"9" * count for count in (20, 309, 400, 4301, 5000)),
    b"-" + b"9" * 400,
    *(opening * count for opening in (b"[", b'{"a":', b"(", b"-", b"not ") for count in (200, 3000)),
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"null", b"true", b'""', b'" "', b"[]", b"{}", b"0.5", b"-1"),
    *(text.encode() for text in ("²", "١", "1_0", "\u200b", "\u3164", "\u2028", "\x85", "\ufeff", "😀")),
    *(b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xff", b"\x00", b"\\ud800", b"\\u0000", b"\\ud83d\\ude00"),
    *(b"\r", b"\r\n", b"\n", b"\n\n", b"\t", b",", b":", b"]", b"}", b'"', b"\\", b"\x1b[31m", b"\x0c"),
    *(
        b'"query":',
        b'"pos":',
        b'"neg":',
        b'"pos_scores":',
        b'"prompt":',
        b'"group":',
        b'"_id":',
        b'"text":',
        b'"title":',
    ),
    *(f"# coding: {codec}\n".encode() for codec in ("rot13", "hex", "zlib", "utf-7", "utf-16", "undefined", "idna")),
    b"elif b:\n    pass\n" * 500,
]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The data after one to four random changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 3, 10, 60)))
        match rng.randrange(8):
            case 0:
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + data[end:]
            case 2:
                data = data[:at] + rng.choice(TOKENS) + data[at:]
            case 3:
                data = data[:at] + rng.choice(TOKENS) + data[end:]
            case 4:
                data = data[:at]
            case 5:
                data = data[:at] + data[at:end] + data[at:]
            case 6:
                lines = data.split(b"\n")
                rng.shuffle(lines)
                data = b"\n".join(lines)
            case _:
                data = (
                    data[: end or 1]
                    + bytes(byte ^ (1 << rng.randrange(8)) for byte in data[end : end + 2])
                    + data[end + 2 :]
                )
    return data


def zstd(data: bytes) -> bytes:
    """The data compressed."""
    return bytes(pa.Codec("zstd").compress(data))


def stored(path: Path, data: bytes, rng: random.Random) -> Path:
    """The mutated data as a file: plain, compressed, or damaged after it was compressed."""
    match rng.randrange(8):
        case 0:
            path, data = path.with_name(f"{path.name}.gz"), gzip.compress(mutated(data, rng))
        case 1:
            path, data = path.with_name(f"{path.name}.gz"), mutated(gzip.compress(data), rng)
        case 2:
            path, data = path.with_name(f"{path.name}.zst"), zstd(mutated(data, rng))
        case 3:
            path, data = path.with_name(f"{path.name}.zst"), mutated(zstd(data), rng)
        case _:
            data = mutated(data, rng)
    path.write_bytes(data)
    return path


def rows(rng: random.Random) -> list[dict]:
    """A few FlagEmbedding rows with all fields."""
    more = {"neg": ["n 1", "n 2"], "neg_scores": [1, 0.5], "pos_scores": [3], "prompt": "find: ", "group": "g"}
    return [
        pair(number, **dict(rng.sample(sorted(more.items()), rng.randrange(6))))
        for number in range(rng.randrange(1, 8))
    ]


def content_of(path: Path) -> bytes | None:
    """What the file holds, decompressed; None if that cannot be done."""
    try:
        if path.suffix == ".zst":
            return pa.CompressedInputStream(pa.BufferReader(path.read_bytes()), "zstd").read()
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except Exception:
        return None


def stored_table(path: Path, made: list[dict], rng: random.Random) -> Path:
    """Rows with columns as a changed JSON, CSV or Parquet file."""
    match rng.randrange(3):
        case 0:
            return stored(path.with_suffix(".jsonl"), b"".join(json.dumps(row).encode() + b"\n" for row in made), rng)
        case 1:
            text = io.StringIO()
            writer = csv.DictWriter(text, list(dict.fromkeys(name for row in made for name in row)))
            writer.writeheader()
            writer.writerows(made)
            return stored(path.with_suffix(".csv"), text.getvalue().encode(), rng)
        case _:
            path = path.with_suffix(".parquet")
            pl.DataFrame(made, strict=False).write_parquet(path, compression=rng.choice(("zstd", "snappy")))
            path.write_bytes(mutated(path.read_bytes(), rng))
            return path
