"""The same promises hold on a disk and in an object store, so most tests run on both."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sharpen.errors import InputError
from sharpen.store import storage

_numbers = itertools.count()


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.store)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An unused folder's address, once on a disk and once in a real S3 store."""
    if request.param == "disk":
        return str(tmp_path / "a folder")
    return storage.join(request.getfixturevalue("s3"), f"storage-{next(_numbers)}")


def at_once(count: int, work: Callable[[int], object]) -> list[object]:
    """Results of `count` threads that start together."""
    gate = threading.Barrier(count)

    def wait_and_work(number: int) -> object:
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(wait_and_work, range(count)))


def test_a_file_comes_back_as_it_was_written(root: str) -> None:
    uri = storage.join(root, "deep", "ein Wort mit ü.json")
    assert not storage.exists(uri)
    written = storage.write_json(uri, {"ü": [1, 2.5, None]})
    assert storage.exists(uri)
    assert storage.exists(root)
    assert storage.read_json(uri) == {"ü": [1, 2.5, None]}
    assert storage.read_with_etag(uri) == (storage.read_bytes(uri), written)


def test_a_name_that_is_only_the_beginning_of_another_does_not_exist(root: str) -> None:
    storage.write_bytes(storage.join(root, "abc"), b"1")
    assert not storage.exists(storage.join(root, "ab"))
    assert storage.list_files(storage.join(root, "ab")) == []


def test_a_missing_file_is_the_users_fault_and_named(root: str) -> None:
    with pytest.raises(storage.NotFound, match="nothing-here") as caught:
        storage.read_bytes(storage.join(root, "nothing-here"))
    assert isinstance(caught.value, InputError)


def test_broken_json_is_named(root: str) -> None:
    uri = storage.join(root, "broken.json")
    storage.write_bytes(uri, b"{]")
    with pytest.raises(InputError, match=r"broken\.json: not valid JSON"):
        storage.read_json(uri)


def test_conditions_of_a_write(root: str) -> None:
    uri = storage.join(root, "pointer.json")
    with pytest.raises(storage.PreconditionFailed):
        storage.write_bytes(uri, b"x", if_match="0" * 32)
    first = storage.write_bytes(uri, b"one", if_absent=True)
    with pytest.raises(storage.PreconditionFailed):
        storage.write_bytes(uri, b"two", if_absent=True)
    second = storage.write_bytes(uri, b"two", if_match=first)
    with pytest.raises(storage.PreconditionFailed):
        storage.write_bytes(uri, b"three", if_match=first)
    assert first != second
    assert storage.read_with_etag(uri) == (b"two", second)


def test_of_many_writers_that_want_to_be_first_one_is(root: str) -> None:
    uri = storage.join(root, "first")

    def claim(number: int) -> bool:
        try:
            storage.write_bytes(uri, str(number).encode(), if_absent=True)
        except storage.PreconditionFailed:
            return False
        return True

    won = at_once(16, claim)
    assert sum(map(bool, won)) == 1
    assert storage.read_bytes(uri) == str(won.index(True)).encode()


def test_no_update_is_lost_between_writers_that_match_the_etag(root: str) -> None:
    uri = storage.join(root, "counter")
    storage.write_bytes(uri, b"0")

    def add_three(_: int) -> None:
        done = 0
        while done < 3:
            data, etag = storage.read_with_etag(uri)
            try:
                storage.write_bytes(uri, str(int(data) + 1).encode(), if_match=etag)
                done += 1
            except storage.PreconditionFailed:
                continue

    at_once(8, add_three)
    assert storage.read_bytes(uri) == b"24"


def test_a_reader_never_sees_half_a_file(root: str) -> None:
    uri = storage.join(root, "whole")
    contents = [bytes([letter]) * 300_000 for letter in b"ab"]
    storage.write_bytes(uri, contents[0])

    def work(number: int) -> bool:
        if number % 2:
            for turn in range(10):
                storage.write_bytes(uri, contents[turn % 2])
            return True
        return all(storage.read_bytes(uri) in contents for _ in range(20))

    assert all(at_once(4, work))


def test_listing_and_deleting(root: str) -> None:
    for name in ("b/2", "a.txt", "b/1", "b/c/3"):
        storage.write_bytes(storage.join(root, name), name.encode())
    found = storage.list_files(root)
    assert [file.name for file in found] == ["a.txt", "b/1", "b/2", "b/c/3"]
    assert [file.size for file in found] == [5, 3, 3, 5]
    assert storage.read_bytes(found[1].uri) == b"b/1"
    assert found[1].etag == storage.read_with_etag(found[1].uri)[1]
    assert storage.list_folders(root) == ["b"]
    storage.delete(storage.join(root, "b"))
    assert [file.name for file in storage.list_files(root)] == ["a.txt"]
    storage.delete(storage.join(root, "a.txt"))
    storage.delete(storage.join(root, "a.txt"))
    assert storage.list_files(root) == []


def test_a_listing_has_no_end_at_a_thousand(root: str) -> None:
    names = [f"{number:04}" for number in range(1003)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: storage.write_bytes(storage.join(root, name), b"1"), names))
    assert [file.name for file in storage.list_files(root)] == names
    storage.delete(root)
    assert storage.list_files(root) == []


def test_fetch_follows_what_is_there(root: str) -> None:
    storage.write_bytes(storage.join(root, "data", "train set.jsonl"), b"one")
    storage.write_bytes(storage.join(root, "data", "qrels", "test.tsv"), b"two")
    folder = storage.localize(storage.join(root, "data"))
    assert (folder / "train set.jsonl").read_bytes() == b"one"
    assert (folder / "qrels" / "test.tsv").read_bytes() == b"two"
    assert storage.localize(storage.join(root, "data", "train set.jsonl")).name == "train set.jsonl"

    storage.write_bytes(storage.join(root, "data", "train set.jsonl"), b"new")
    assert storage.localize(storage.join(root, "data", "train set.jsonl")).read_bytes() == b"new"
    assert (storage.localize(storage.join(root, "data")) / "train set.jsonl").read_bytes() == b"new"


def test_fetch_of_nothing_is_told(root: str) -> None:
    with pytest.raises(InputError, match="absent: no such file or folder"):
        storage.localize(storage.join(root, "absent"))
    with pytest.raises(InputError, match="absent"):
        storage.localize(storage.join(root, "absent") + "/")


def test_check_access_leaves_nothing_behind(root: str) -> None:
    storage.check_access(storage.join(root, "later"), write=True)
    assert storage.list_files(root) == []
    storage.check_access(storage.join(root, "later"))


@pytest.mark.parametrize(
    ("uri", "parts", "joined"),
    [
        ("s3://bucket", ("a", "b/c"), "s3://bucket/a/b/c"),
        ("s3://bucket/x/", ("/a/",), "s3://bucket/x/a"),
        ("s3://bucket/x?endpoint=http://h:1", ("a",), "s3://bucket/x/a?endpoint=http://h:1"),
        ("/some/path", ("a", "b"), "/some/path/a/b"),
        ("relative", ("a",), "relative/a"),
    ],
)
def test_join(uri: str, parts: tuple[str, ...], joined: str) -> None:
    assert storage.join(uri, *parts) == joined


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("s3://", "name of a bucket"),
        ("s3:///key", "name of a bucket"),
        ("s3://bucket/a/../b", "'..' between slashes"),
        ("s3://bucket/a/./b", "'.'"),
        ("s3://bucket/a//b", "empty part"),
        ("s3://bucket/a?endpiont=http://h", "unknown option endpiont"),
        ("s3://bucket/a?endpoint=h:9000", "not an http:// or https:// address"),
        ("gs://bucket/a", "gs:// cannot be read"),
        ("", "empty address"),
    ],
)
def test_addresses_that_cannot_be_used_are_refused(uri: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        storage.read_bytes(uri)
    assert len(caught.value.faults) == 1


def test_an_uppercase_scheme_is_remote() -> None:
    assert storage.is_remote("S3://bucket/key")
    assert storage.is_remote("minio://bucket/key")
    assert not storage.is_remote("/s3/bucket")


def test_a_local_lock_is_no_file_of_the_folder(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / "x"), b"1", if_absent=True)
    assert [file.name for file in storage.list_files(str(tmp_path))] == ["x"]


def test_not_a_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        storage.write_json(str(tmp_path / "x.json"), {"x": float("nan")})
    assert json.dumps(storage.list_files(str(tmp_path))) == "[]"
