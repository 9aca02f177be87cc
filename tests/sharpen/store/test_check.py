"""What a store can do, against a real one: as it is, and as stores are that lack an operation."""

from __future__ import annotations

import hashlib
import os

import pytest

from sharpen.errors import InputError
from sharpen.store import storage
from sharpen.store.check import Trial, main, try_store
from sharpen.uri import CredentialsError, Unreachable
from tests.sharpen.store.store_proxy import Answer, Request, StoreProxy, refusal

pytestmark = pytest.mark.store
OPERATIONS = ["read", "write", "conditional write", "write in parts", "delete"]


def faults(trials: list[Trial]) -> dict[str, str]:
    return {trial.operation: trial.fault for trial in trials if trial.fault}


def through(s3: str, proxy: StoreProxy) -> list[Trial]:
    return try_store(f"{s3}/tried?endpoint={proxy.endpoint}")


def test_the_embedded_store_does_everything_and_nothing_is_left(s3: str) -> None:
    trials = try_store(f"{s3}/tried")
    assert trials == [Trial(operation, "") for operation in OPERATIONS]
    assert storage.list_files(f"{s3}/tried") == []


@pytest.mark.parametrize("condition", ["If-None-Match", "If-Match"])
def test_a_store_that_ignores_a_condition_is_found(s3: str, condition: str) -> None:
    def ignored(asked: Request, status: int) -> Answer | None:
        unmet = asked.method == "PUT" and condition in asked.headers and status == 412
        return Answer(200, b"", (("ETag", hashlib.md5(asked.body).hexdigest()),)) if unmet else None

    with StoreProxy(os.environ["AWS_ENDPOINT_URL_S3"], afterwards=ignored) as proxy:
        trials = through(s3, proxy)
    assert [trial.operation for trial in trials] == OPERATIONS
    assert list(faults(trials)) == ["conditional write"]
    assert f"the store ignores {condition}, so two runs" in faults(trials)["conditional write"]
    assert storage.list_files(f"{s3}/tried") == []


@pytest.mark.parametrize(
    ("broken", "code", "operations", "line"),
    [
        ("conditions", "NotImplemented", ["conditional write"], "answered NotImplemented"),
        ("parts", "NotImplemented", ["write in parts"], "answered NotImplemented"),
        ("deleting", "AccessDenied", ["delete"], "access denied"),
    ],
)
def test_an_operation_that_the_store_lacks_or_the_key_may_not_do(
    s3: str, broken: str, code: str, operations: list[str], line: str
) -> None:
    def refused(asked: Request) -> Answer | None:
        which = {
            "conditions": "If-None-Match" in asked.headers,
            "parts": asked.method == "POST" and "uploads" in asked.path,
            "deleting": asked.method == "POST" and "delete" in asked.path,
        }
        return refusal(403 if code == "AccessDenied" else 501, code) if which[broken] else None

    with StoreProxy(os.environ["AWS_ENDPOINT_URL_S3"], refused) as proxy:
        trials = through(s3, proxy)
    assert list(faults(trials)) == operations
    assert line in faults(trials)[operations[0]]
    storage.delete(f"{s3}/tried")


def test_what_everything_depends_on_ends_the_trial(s3: str) -> None:
    (trial,) = try_store("s3://no-such-bucket/x")
    assert trial.operation == "read"
    assert "no bucket 'no-such-bucket'" in trial.fault

    def read_only(asked: Request) -> Answer | None:
        return refusal(403, "AccessDenied") if asked.method == "PUT" else None

    with StoreProxy(os.environ["AWS_ENDPOINT_URL_S3"], read_only) as proxy:
        trials = through(s3, proxy)
    assert [trial.operation for trial in trials] == ["read", "write", "delete"]
    assert list(faults(trials)) == ["write"]


def test_a_wrong_secret_is_told_and_is_not_shown(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-that-is-wrong")
    (trial,) = try_store(s3)
    assert "the secret is wrong" in trial.fault
    assert "a-secret-that-is-wrong" not in trial.fault


def test_what_cannot_be_asked_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    with pytest.raises(Unreachable, match="connection refused"):
        try_store("s3://b/k?endpoint=http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(CredentialsError, match="set AWS_ACCESS_KEY_ID"):
        try_store("s3://b/k?endpoint=http://127.0.0.1:9")
    with pytest.raises(InputError, match="not an address of an object store"):
        try_store("/tmp/x")


def test_as_a_program_it_prints_a_line_per_operation(s3: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"{s3}/program"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"ok: {operation}" for operation in OPERATIONS]
    assert main(["s3://no-such-bucket/x"]) == 2
    assert capsys.readouterr().out.startswith("fault: read: s3://no-such-bucket/x: no bucket")
    assert main([]) == 2
