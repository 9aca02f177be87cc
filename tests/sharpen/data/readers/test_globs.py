"""Addresses with wildcards mean the same files on this machine and in an object store."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from sharpen.data.readers import read_dataset
from sharpen.data.readers.content import content_of
from sharpen.data.readers.globs import expand, is_glob
from sharpen.data.source_settings import SourceSettings
from sharpen.errors import InputError
from sharpen.store import storage
from tests.sharpen.data.input_files import pair

FILES = ("2026-01-01/a.jsonl", "2026-01-01/b.jsonl.gz", "2026-01-02/a.jsonl", "2026-02-01/deep/c.jsonl", "old/a.jsonl")
PATTERNS = {
    "2026-*/*.jsonl": [0, 2],
    "2026-*/a.jsonl": [0, 2],
    "2026-01-0[2-9]/*": [2],
    "**/a.jsonl": [0, 2, 4],
    "2026-*/**/*.jsonl*": [0, 1, 2, 3],
}


def content(number: int) -> bytes:
    data = json.dumps(pair(number)).encode()
    return gzip.compress(data) if FILES[number].endswith(".gz") else data


@pytest.fixture(params=["here", pytest.param("store", marks=pytest.mark.store)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    where = str(tmp_path / "logs") if request.param == "here" else f"{request.getfixturevalue('s3')}/globs/logs"
    for number, name in enumerate(FILES):
        storage.write_bytes(storage.join(where, name), content(number))
    return where


def test_every_wildcard(root: str) -> None:
    for pattern, files in PATTERNS.items():
        assert expand(f"{root}/{pattern}") == [storage.join(root, FILES[number]) for number in files], pattern
    found = read_dataset(f"{root}/2026-*/**/*.jsonl*")
    assert sorted(found.queries["text"]) == [f"question number {number}?" for number in range(4)]
    # a folder of partitions needs no wildcard
    assert read_dataset(root).queries.height == 5
    with pytest.raises(InputError, match=r"2027-\*.* matches"):
        expand(f"{root}/2027-*/a.jsonl")
    one = SourceSettings(address=f"{root}/2026-*/a.jsonl", name="clicks")  # type: ignore[call-arg]
    assert set(read_dataset(json.dumps([one.as_json()])).queries["source"]) == {"clicks"}


def test_what_a_pattern_means_is_known_by_its_content(root: str) -> None:
    address = f"{root}/2026-*/a.jsonl"
    before = content_of(address)
    storage.write_bytes(storage.join(root, "2025-12-31/a.jsonl"), content(0))
    assert content_of(address) == before
    storage.write_bytes(storage.join(root, "2026-01-03/a.jsonl"), content(4))
    assert content_of(address) != before


def test_a_name_that_is_there_is_no_pattern(tmp_path: Path) -> None:
    path = tmp_path / "a[1].jsonl"
    path.write_bytes(content(0))
    assert not is_glob(str(path)) and read_dataset(str(path)).queries.height == 1
    assert not is_glob("s3://b/a.jsonl?endpoint=http://h:1") and is_glob("s3://b/a-[12].jsonl?region=x")
    assert not is_glob("hf://team/a*") and not is_glob("x" * 5000)
