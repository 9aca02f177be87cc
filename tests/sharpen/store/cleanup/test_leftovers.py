"""What runs left behind goes after days, and nothing else, in a real store and on a disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sharpen.store import object_store, s3_client, storage
from sharpen.store.cleanup import leftovers
from sharpen.store.cleanup.leftovers import find_leftovers, sweep
from sharpen.uri import parse_remote
from tests.sharpen.store.store_proxy import StoreProxy, refusal

pytestmark = pytest.mark.store

HASH = "0123456789abcdef"
# in days: what this test wrote before it slept is old
OLD = 5 / leftovers.DAY


def half_written(address: str, *, others: tuple[str, ...] = ()) -> None:
    """What a writer leaves that dies in the middle, and files that somebody else put there."""
    plan = {"files": [{"name": name} for name in ("weights", "not-yet-uploaded")]}
    storage.write_json(f"{address}/_WRITING.json", plan)
    for name in ("weights", *others):
        storage.write_bytes(f"{address}/{name}", b"w" * 1000)


def checkpoint(address: str, step: int) -> None:
    with storage.publish(f"{address}/step-{step}", producer="finetuning", rows={"steps": step}) as folder:
        (folder / "model.safetensors").write_bytes(b"w" * 2000)


def begin_upload(root: str, key: str) -> str:
    remote = parse_remote(root)
    client, names = s3_client.client(remote), {"Bucket": remote.bucket, "Key": f"{remote.prefix}{key}"}
    begun = client.create_multipart_upload(**names)["UploadId"]
    client.upload_part(**names, UploadId=begun, PartNumber=1, Body=b"p" * 5000)
    return begun


@pytest.fixture(scope="module")
def everything(s3: str) -> str:
    """The root of what all tests of this file find, each below a name of its own, and which is old when they begin."""
    root = f"{s3}/leftovers"
    dead = f"{root}/only/runs/dead"
    half_written(f"{dead}/model", others=("notes.txt",))
    for step in (2, 4):
        checkpoint(f"{dead}/finetuning-checkpoints/{HASH}", step)
    half_written(f"{dead}/finetuning-checkpoints/{HASH}/step-6")
    storage.write_bytes(f"{dead}/.write-check-{HASH}", b"")
    storage.write_bytes(f"{root}/only/.store-check-{HASH}/plain", b"1")
    begin_upload(dead, "other/weights")
    for alive in ("only/runs/alive", "between"):
        half_written(f"{root}/{alive}/model")
        checkpoint(f"{root}/{alive}/checkpoints/{HASH}", 2)
        begin_upload(f"{root}/{alive}", "weights")
    for run in ("this", "dead"):
        checkpoint(f"{root}/sweep/{run}/model-checkpoints/{HASH}", 2)
    begin_upload(root, "sweep/dead/weights")
    half_written(f"{root}/refused/dead/model")
    checkpoint(f"{root}/cut/dead/checkpoints/{HASH}", 2)
    half_written(f"{root}/cut/dead/model")
    assert list(find_leftovers(root, 1)) == []
    time.sleep(7)
    return root


def names(root: str) -> set[str]:
    return {file.name for file in storage.list_files(root)}


def uploads(root: str) -> set[str]:
    return {upload.key.rpartition("/")[2] for upload in object_store.unfinished_uploads(parse_remote(root))}


def write_again(run: str) -> None:
    """What a run that lives does: another file, another checkpoint, another part."""
    with storage.publish(f"{run}/other", producer="test") as folder:
        (folder / "a").write_bytes(b"1")
    storage.write_bytes(f"{run}/model/weights", b"more")
    checkpoint(f"{run}/checkpoints/{HASH}", 4)
    remote = parse_remote(run)
    (upload,) = object_store.unfinished_uploads(remote)
    names = {"Bucket": remote.bucket, "Key": upload.key, "UploadId": upload.upload_id}
    s3_client.client(remote).upload_part(**names, PartNumber=2, Body=b"p")


def test_only_what_is_unfinished_and_old_goes(everything: str) -> None:
    root = f"{everything}/only"
    with storage.publish(f"{root}/runs/good/model", producer="finetuning") as folder:
        (folder / "model.safetensors").write_bytes(b"good")
    storage.write_json(f"{root}/runs/good/model/_WRITING.json", {"files": [{"name": "model.safetensors"}]})
    storage.write_bytes(f"{root}/mine/{HASH}/step-1/not-ours", b"1")
    write_again(f"{root}/runs/alive")
    before = names(root)
    found = [one for one in find_leftovers(root, OLD) if "/mine/" not in one.address]
    assert {(one.kind, one.address.removeprefix(f"{root}/"), one.size > 0) for one in found} == {
        ("half-written folder", "runs/dead/model", True),
        ("checkpoints", f"runs/dead/finetuning-checkpoints/{HASH}", True),
        ("unfinished upload", "runs/dead/other/weights", True),
        ("file of a check", f"runs/dead/.write-check-{HASH}", False),
        ("file of a check", f".store-check-{HASH}/plain", True),
    }
    assert all(5 < one.age < 600 for one in found)
    assert names(root) == before
    assert all(one.delete() for one in found)
    dead = {name for name in before if "/dead/" in name or "-check-" in name}
    assert names(root) == before - dead | {"runs/dead/model/notes.txt"}
    assert {one.key.rpartition("only/")[2] for one in object_store.unfinished_uploads(parse_remote(root))} == {
        "runs/alive/weights"
    }
    assert list(find_leftovers(root, OLD)) == []


def test_what_is_written_to_between_the_look_and_the_deletion_stays(everything: str) -> None:
    root = f"{everything}/between"
    found = list(find_leftovers(root, OLD))
    assert len(found) == 3
    write_again(root)
    before = names(root)
    assert not any(one.delete() for one in found)
    assert names(root) == before and uploads(root) == {"weights"}


def test_what_was_old_and_is_complete_stays(everything: str) -> None:
    """A version that became the champion days ago, beside a writer's list that was not removed."""
    root = f"{everything}/good"
    with storage.publish(f"{root}/models/m/versions/v0001", producer="promotion") as folder:
        (folder / "model.safetensors").write_bytes(b"champion")
    storage.write_json(f"{root}/models/m/champion.json", {"version": "v0001"})
    storage.write_json(f"{root}/models/m/versions/v0001/_WRITING.json", {"files": [{"name": "model.safetensors"}]})
    storage.write_bytes(f"{root}/mine/{HASH}/step-1/not-ours", b"1")
    storage.write_json(f"{root}/mine/_WRITING.json", {"of": "another program"})
    storage.write_bytes(f"{root}/mine/_WRITING-notes.json", b"1")
    # as if years had passed
    assert list(find_leftovers(root, -1)) == []


def test_the_sweep_at_the_end_of_a_run(everything: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = f"{everything}/sweep"
    sweep([root], 0)
    sweep([root], OLD, without="this", seconds=0)
    assert {name.split("/")[0] for name in names(root)} == {"this", "dead"}
    sweep([root], OLD, without="this")
    assert {name.split("/")[0] for name in names(root)} == {"this"}
    assert uploads(root) == set()
    assert "store: deleted 2 leftovers of earlier runs" in capsys.readouterr().out


def test_a_sweep_neither_waits_for_a_store_nor_fails(
    s3: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = f"{s3}/away"
    monkeypatch.setattr(leftovers, "_STORE_SECONDS", 0.3)
    storage.exists(root)
    with StoreProxy(os.environ["AWS_ENDPOINT_URL_S3"], lambda _: refusal(503, "SlowDown")) as proxy:
        sweep([f"{root}?endpoint={proxy.endpoint}", ""], 1)
    assert "note: what earlier runs left in the store stays there" in capsys.readouterr().out


def test_a_key_that_may_not_list_uploads_cleans_the_rest(everything: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = f"{everything}/refused"

    def refuses(request: Any) -> Any:
        return refusal(403, "AccessDenied") if "?uploads" in request.path else None

    with StoreProxy(os.environ["AWS_ENDPOINT_URL_S3"], refuses) as proxy:
        found = list(find_leftovers(f"{root}?endpoint={proxy.endpoint}", OLD))
        assert [one.delete() for one in found] == [True]
    assert names(root) == set()
    assert "unfinished uploads below" in capsys.readouterr().out


def test_a_deletion_that_was_cut_short_is_gone_on_with(everything: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = f"{everything}/cut"
    real: Callable[..., None] = object_store.delete_keys
    monkeypatch.setattr(object_store, "delete_keys", lambda remote, keys: real(remote, keys[:1]))
    assert all(one.delete() for one in find_leftovers(root, OLD))
    monkeypatch.undo()
    assert all(one.delete() for one in find_leftovers(root, OLD))
    assert names(root) == set()


def test_on_a_disk_half_written_files_and_folders_go(tmp_path: Path) -> None:
    with storage.publish(str(tmp_path / "good"), producer="test") as folder:
        (folder / "a").write_text("1")
    dead, alive = tmp_path / "runs" / ".model.writing-0123456789ab", tmp_path / ".model.writing-ba9876543210"
    for folder in (dead, alive):
        folder.mkdir(parents=True)
        (folder / ".inner.writing-0123456789ab").write_text("1")
    before = time.time() - 8 * leftovers.DAY
    for path in (dead, dead / ".inner.writing-0123456789ab", alive):
        os.utime(path, (before, before))
    (found,) = find_leftovers(str(tmp_path), 7)
    assert (found.address, found.kind) == (str(dead), "half-written folder")
    sweep([str(tmp_path)], 7)
    assert not dead.exists() and alive.exists()
    assert storage.open_artifact(str(tmp_path / "good")).is_dir()
