"""Finished folders: published whole or not at all, checked when they are read."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sharpen.errors import InputError, NoSpace, StepFailed
from sharpen.store import download_cache, object_store, storage

_numbers = itertools.count()


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.store)])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An unused address for a folder, once on a disk and once in a real S3 store."""
    if request.param == "disk":
        return str(tmp_path / "out" / "model")
    return storage.join(request.getfixturevalue("s3"), f"folders-{next(_numbers)}", "model")


def publish(uri: str, **files: str) -> None:
    with storage.publish(uri, producer="test", run_id="run-1") as folder:
        for name, text in files.items():
            (folder / name).write_text(text)


def names(uri: str) -> list[str]:
    return [file.name for file in storage.list_files(uri)]


def test_a_folder_and_its_marker(target: str) -> None:
    rows: dict[str, int] = {}
    with storage.publish(target, producer="mining", run_id="r7", rows=rows, facts={"seed": 4}) as folder:
        (folder / "deep er").mkdir()
        (folder / "deep er" / "ä?&.bin").write_bytes(b"123")
        (folder / "empty").write_bytes(b"")
        assert not storage.is_complete(target)
        rows["negatives"] = 5
    assert storage.is_complete(target)
    assert not folder.exists() or str(folder) == target
    marker = storage.read_manifest(target)
    assert (marker.producer, marker.run_id, marker.schema_version) == ("mining", "r7", 1)
    assert (marker.rows, marker.facts) == ({"negatives": 5}, {"seed": 4})
    assert marker.code_version
    assert marker.files == [
        {"name": "deep er/ä?&.bin", "size": 3, "sha256": hashlib.sha256(b"123").hexdigest()},
        {"name": "empty", "size": 0, "sha256": hashlib.sha256(b"").hexdigest()},
    ]
    opened = storage.open_artifact(target)
    assert (opened / "deep er" / "ä?&.bin").read_bytes() == b"123"
    assert (opened / "empty").read_bytes() == b""


def test_after_an_error_nothing_is_published_and_nothing_left(target: str) -> None:
    with pytest.raises(ZeroDivisionError), storage.publish(target, producer="test") as folder:
        (folder / "half").write_text("x")
        raise ZeroDivisionError
    assert not folder.exists()
    assert not storage.exists(target)
    if not storage.is_remote(target):
        assert list(Path(target).parent.iterdir()) == []


def test_after_an_error_the_older_folder_stays(target: str) -> None:
    publish(target, a="old")
    with pytest.raises(ZeroDivisionError), storage.publish(target, producer="test") as folder:
        (folder / "a").write_text("new")
        raise ZeroDivisionError
    assert (storage.open_artifact(target) / "a").read_text() == "old"


def test_a_new_folder_replaces_the_older_one_whole(target: str) -> None:
    publish(target, a="1", gone="2")
    publish(target, a="3", more="4")
    assert names(target) == ["_SUCCESS.json", "a", "more"]
    assert (storage.open_artifact(target) / "a").read_text() == "3"


def test_an_unfinished_folder_is_refused_in_one_line(target: str) -> None:
    storage.write_bytes(storage.join(target, "a"), b"1")
    with pytest.raises(InputError, match=r"not a finished folder \(no _SUCCESS.json\)") as caught:
        storage.open_artifact(target)
    assert "\n" not in str(caught.value)


def test_a_block_that_wrote_nothing_fails(target: str) -> None:
    with pytest.raises(StepFailed, match="test wrote no files"):
        publish(target)
    assert not storage.is_complete(target)


@pytest.mark.parametrize("change", ["other bytes", "other length", "gone"])
def test_a_damaged_folder_is_not_read(target: str, change: str) -> None:
    publish(target, weights="abcdef", other="1")
    uri = storage.join(target, "weights")
    if change == "gone":
        storage.delete(uri)
    else:
        storage.write_bytes(uri, b"abcdeX" if change == "other bytes" else b"abc")
    with pytest.raises((StepFailed, InputError), match="weights"):
        storage.open_artifact(target)
    # and the failed download left nothing that a second try would take for whole
    with pytest.raises((StepFailed, InputError), match="weights"):
        storage.open_artifact(target)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"schema_version": 1}', '{"schema_version": 2}'],
)
def test_a_marker_that_cannot_be_read_is_told(target: str, text: str) -> None:
    storage.write_bytes(storage.join(target, "_SUCCESS.json"), text.encode())
    with pytest.raises(InputError, match=r"_SUCCESS.json: damaged|schema version 2"):
        storage.open_artifact(target)


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside", "", "a//b", ".."])
def test_a_marker_cannot_name_files_outside_its_folder(target: str, name: str) -> None:
    publish(target, a="1")
    marker = storage.read_json(storage.join(target, "_SUCCESS.json"))
    marker["files"][0]["name"] = name
    storage.write_json(storage.join(target, "_SUCCESS.json"), marker)
    with pytest.raises(InputError, match="leaves its folder"):
        storage.open_artifact(target)


def test_a_copy_says_who_made_the_original(target: str) -> None:
    with storage.publish(target, producer="finetuning", run_id="r1", rows={"x": 1}, facts={"loss": 0.5}) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "weights").write_text("w")
    copied = storage.copy_artifact(target, target + "-copy")
    original = storage.read_manifest(target)
    assert (copied.producer, copied.run_id, copied.rows, copied.facts) == ("finetuning", "r1", {"x": 1}, {"loss": 0.5})
    assert copied.files == original.files
    assert (storage.open_artifact(target + "-copy") / "sub" / "weights").read_text() == "w"


def test_a_full_disk_is_told_with_its_path(target: str) -> None:
    with (
        pytest.raises(NoSpace, match="no space left on the disk") as caught,
        storage.publish(target, producer="test") as folder,
    ):
        # every write to this device fails as on a full disk
        (folder / "weights").symlink_to("/dev/full")
        (folder / "weights").write_bytes(b"x" * 10_000)
    assert str(folder) in str(caught.value)
    assert not storage.exists(target)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EDQUOT, "Disk quota exceeded"), RuntimeError("I/O error: No space left on device (os error 28)")],
)
def test_a_full_disk_is_known_whatever_library_says_so(target: str, error: Exception) -> None:
    with pytest.raises(NoSpace, match="no space left"), storage.publish(target, producer="test"):
        raise error


def test_a_local_folder_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not written by Sharpen"):
        publish(str(tmp_path), a="1")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_file_at_the_address_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for address in ("file", "file/below"):
        with pytest.raises(InputError, match="not a usable path"):
            publish(str(tmp_path / address), a="1")


def test_a_published_local_folder_has_the_usual_rights(tmp_path: Path) -> None:
    publish(str(tmp_path / "x"), a="1")
    (tmp_path / "y").mkdir()
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="no right to write"):
        publish(str(tmp_path / "x"), a="1")


@pytest.mark.store
def test_an_upload_that_breaks_leaves_no_marker_and_the_next_one_heals(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = storage.join(s3, "broken-upload", "model")
    publish(target, a="old", b="old")
    real = object_store.upload

    def breaks_at_b(remote: object_store.Remote, path: Path, done: object = None) -> None:
        if remote.key.endswith("/b"):
            raise StepFailed("the line is dead")
        real(remote, path)

    monkeypatch.setattr(object_store, "upload", breaks_at_b)
    with pytest.raises(StepFailed, match="line is dead"):
        publish(target, a="new", b="new", c_extra="new")
    assert not storage.is_complete(target)
    with pytest.raises(InputError, match="not a finished folder"):
        storage.open_artifact(target)
    monkeypatch.setattr(object_store, "upload", real)

    publish(target, a="newer")
    assert names(target) == ["_SUCCESS.json", "a"]
    assert (storage.open_artifact(target) / "a").read_text() == "newer"


@pytest.mark.store
def test_objects_of_somebody_else_below_the_address_are_left_alone(s3: str) -> None:
    target = storage.join(s3, "shared-prefix")
    storage.write_bytes(storage.join(target, "thesis.txt"), b"years of work")
    publish(target, a="1")
    publish(target, b="2")
    assert names(target) == ["_SUCCESS.json", "b", "thesis.txt"]
    assert not (storage.open_artifact(target) / "thesis.txt").exists()


@pytest.mark.store
def test_large_files_go_in_parts(s3: str) -> None:
    target = storage.join(s3, "large")
    size = 2 * object_store.PART_BYTES + 12_345
    data = os.urandom(size)
    with storage.publish(target, producer="test") as folder:
        (folder / "weights").write_bytes(data)
    (stored,) = [file for file in storage.list_files(target) if file.name == "weights"]
    assert stored.etag.endswith("-3"), "an ETag of three parts"
    assert (storage.open_artifact(target) / "weights").read_bytes() == data


@pytest.mark.store
def test_a_second_opening_reads_the_cache_and_only_the_owner_can(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = storage.join(s3, "cached")
    publish(target, a="1")
    first = storage.open_artifact(target)
    with monkeypatch.context() as patch:
        patch.setattr(object_store, "download", lambda *_, **__: pytest.fail("downloaded again"))
        assert storage.open_artifact(target) == first
    assert first.stat().st_mode & 0o777 == 0o700
    assert download_cache.cache_folder().stat().st_mode & 0o077 == 0

    (first / "a").unlink()
    assert (storage.open_artifact(target) / "a").read_text() == "1", "a damaged entry is filled again"

    publish(target, a="2")
    assert (storage.open_artifact(target) / "a").read_text() == "2"


@pytest.mark.store
@pytest.mark.processes
def test_processes_that_open_a_folder_at_once_share_one_download(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = storage.join(s3, "many-readers")
    with storage.publish(target, producer="test") as folder:
        for number in range(20):
            (folder / f"{number}").write_bytes(os.urandom(50_000))
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "cache"))
    program = (
        "import sys; from sharpen.store import object_store, storage; count = 0\n"
        "real = object_store.download\n"
        "def counted(*a, **k): global count; count += 1; real(*a, **k)\n"
        "object_store.download = counted\n"
        "print(storage.open_artifact(sys.argv[1]), count)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, target], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    answers = [process.communicate(timeout=600)[0].split() for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert len({path for path, _ in answers}) == 1
    assert sorted(int(count) for _, count in answers) == [0, 0, 0, 20]


@pytest.mark.store
def test_a_remote_file_name_cannot_leave_the_cache(s3: str) -> None:
    with pytest.raises(InputError, match="leaves its folder"):
        download_cache.download(s3, [download_cache.Expected("../outside", 1)], Path("/nonexistent"))


def test_facts_that_are_not_json_publish_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="JSON"),
        storage.publish(str(tmp_path / "x"), producer="test", facts={"loss": float("nan")}) as folder,
    ):
        (folder / "a").write_text("1")
    assert json.dumps([path.name for path in tmp_path.iterdir()]) == "[]"
