"""Who writes a version, on a disk and in a real S3 store."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from sharpen.errors import StepFailed
from sharpen.registry import claims, registry, versions
from sharpen.registry.claims import Claim
from sharpen.store import s3_client, storage
from sharpen.uri import parse_remote

NAME = "code-search"
Make = Callable[..., str]
ELSEWHERE = {"host": "node-7", "processes": "another machine", "pid": "17", "started": "then"}


def register(root: str, model: str) -> registry.Version:
    return registry.register(root, NAME, model, {}, run_id="run-1")


def claimed(root: str, content: str, process: dict[str, str], version: str = "v0001") -> str:
    """A claim as another process left it; its address."""
    address = storage.join(root, "models", NAME, "claims", f"{version}.json")
    claim = Claim(content, "its token", "nightly-7", process, "1970-01-01T00:00:00+00:00")
    storage.write_json(address, asdict(claim))
    return address


def content(model: str) -> str:
    return versions.content_of(storage.read_manifest(model).files)


@pytest.fixture
def ended() -> dict[str, str]:
    """A process of this machine that has ended."""
    program = "from sharpen.registry.process_identity import this_process as p; print(p())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return eval(done.stdout)


def test_the_claim_of_a_process_that_has_ended_is_taken_over_at_once(
    root: str, make_model: Make, ended: dict[str, str]
) -> None:
    model = make_model("w1")
    claimed(root, content(model), ended)
    start = time.monotonic()
    assert register(root, model).version == "v0001"
    assert time.monotonic() - start < 20 < claims.LEASE_SECONDS


def test_who_waits_for_a_silent_process_elsewhere_says_for_whom_and_until_when(
    root: str, make_model: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(claims, "LEASE_SECONDS", 3.0)
    model = make_model("w1")
    claimed(root, content(model), ELSEWHERE)
    assert register(root, model).version == "v0001"
    told, taken = capsys.readouterr().out.splitlines()
    assert "v0001 of the same model is being written by run nightly-7 (process 17 on machine node-7)" in told
    assert "since 1970-01-01T00:00:00+00:00" in told and "this run takes over at " in told
    assert taken == "v0001: completing what an earlier promotion of the same model left"


@pytest.mark.store
@pytest.mark.parametrize("root", ["s3"], indirect=True)
def test_an_owner_that_is_heard_of_is_waited_for_whatever_its_clock_says(
    root: str, make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It renews its claim; its clock, which shows 1970, is no reason to take it for dead."""
    monkeypatch.setattr(claims, "LEASE_SECONDS", 3.0)
    monkeypatch.setattr(claims, "RENEWAL_SECONDS", 0.3)
    model = make_model("w1")
    address = claimed(root, content(model), ELSEWHERE)
    claim, etag, _ = claims._read(address)
    answers: list[registry.Version] = []
    with claims.Ownership(address, "v0001", claim, etag) as owner:
        waiting = threading.Thread(target=lambda: answers.append(register(root, model)))
        waiting.start()
        time.sleep(4.5)
        assert not answers
        facts = {"content": content(model)}
        with storage.publish(registry.version_address(root, NAME, "v0001"), producer="p", facts=facts) as folder:
            (folder / versions.PROVENANCE).write_text("{}")
        owner.check()
        waiting.join(timeout=60)
    assert [answer.version for answer in answers] == ["v0001"]
    assert registry.list_versions(root, NAME) == ["v0001"]


def test_an_owner_that_was_taken_for_dead_learns_it(root: str, make_model: Make) -> None:
    address = claimed(root, content(make_model("w1")), ELSEWHERE)
    claim, etag, _ = claims._read(address)
    with claims.Ownership(address, "v0001", claim, etag) as owner:
        owner.check()
        storage.write_json(address, asdict(replace(claim, token="another's")))
        with pytest.raises(StepFailed, match="another promotion has taken v0001 over"):
            owner.check()


def test_what_a_dead_promotion_of_another_model_left_is_deleted(
    root: str, make_model: Make, ended: dict[str, str]
) -> None:
    claimed(root, "of another model", ended)
    claimed(root, "of a third model", ELSEWHERE, "v0002")
    for version in ("v0001", "v0002"):
        left = storage.join(registry.version_address(root, NAME, version), "model.safetensors")
        storage.write_bytes(left, b"half")
    assert register(root, make_model("w1")).version == "v0003"
    there = storage.list_files(storage.join(root, "models", NAME, "versions"))
    assert {file.name.partition("/")[0] for file in there} == {"v0002", "v0003"}
    # and its number is not used by the next one either
    assert register(root, make_model("w2")).version == "v0004"


@pytest.mark.store
@pytest.mark.parametrize("root", ["s3"], indirect=True)
def test_parts_that_a_dead_promotion_has_uploaded_are_not_kept(
    root: str, make_model: Make, ended: dict[str, str]
) -> None:
    """Nobody lists them, and a store keeps them for ever."""
    model = make_model("w1")
    claimed(root, content(model), ended)
    remote = parse_remote(storage.join(registry.version_address(root, NAME, "v0001"), "model.safetensors"))
    s3 = s3_client.client(remote)
    target = {"Bucket": remote.bucket, "Key": remote.key}
    upload = s3.create_multipart_upload(**target)["UploadId"]
    s3.upload_part(**target, UploadId=upload, PartNumber=1, Body=b"x" * 5_242_880)
    below = {"Bucket": remote.bucket, "Prefix": remote.key}
    assert len(s3.list_multipart_uploads(**below)["Uploads"]) == 1
    assert register(root, model).version == "v0001"
    assert "Uploads" not in s3.list_multipart_uploads(**below)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"content": 7}', b'{"content": "x", "process": 1}'])
def test_a_damaged_claim_only_takes_a_number(tmp_path: Path, text: bytes) -> None:
    root, model = str(tmp_path), str(tmp_path / "model")
    with storage.publish(model, producer="finetuning") as folder:
        (folder / "model.safetensors").write_text("w")
    storage.write_bytes(storage.join(root, "models", NAME, "claims", "v0001.json"), text)
    assert register(root, model).version == "v0002"
