"""What a user sees when the object store cannot be used: one line that names the cause, within seconds."""

from __future__ import annotations

import socket
import time

import pytest

from sharpen.errors import InputError
from sharpen.store import storage

pytestmark = pytest.mark.store

CALLS = {
    "check": lambda uri: storage.check_access(uri, write=True),
    "read": storage.read_bytes,
    "write": lambda uri: storage.write_bytes(uri, b"x"),
    "list": storage.list_files,
    "fetch": storage.localize,
    "open": storage.open_artifact,
    "delete": storage.delete,
    "exists": storage.exists,
}


def fault_of(call: str, uri: str) -> str:
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        CALLS[call](uri)
    assert time.monotonic() - start < 60
    (line,) = caught.value.faults
    assert "\n" not in line
    return line


@pytest.mark.parametrize("call", CALLS)
def test_no_such_bucket(s3: str, call: str) -> None:
    line = fault_of(call, "s3://no-such-bucket/key")
    assert "no bucket 'no-such-bucket' at http://127.0.0.1:" in line


@pytest.mark.parametrize("call", CALLS)
def test_wrong_secret(s3: str, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-value")
    line = fault_of(call, storage.join(s3, "key"))
    assert "check AWS_SECRET_ACCESS_KEY" in line
    assert "wrong-secret-value" not in line


@pytest.mark.parametrize("call", CALLS)
def test_unknown_key(s3: str, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    assert "check AWS_ACCESS_KEY_ID" in fault_of(call, storage.join(s3, "key"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("call", ["check", "read"])
def test_nobody_listens(s3: str, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    line = fault_of(call, storage.join(s3, "key"))
    assert f"cannot reach the object store at {endpoint} (connection refused)" in line


def test_no_such_host(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://store.invalid:9000")
    monkeypatch.setenv("NO_PROXY", "*")
    assert "cannot reach the object store at http://store.invalid:9000" in fault_of("check", storage.join(s3, "key"))


def test_a_store_that_never_answers(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        full = [socket.socket() for _ in range(4)]
        for each in full:
            each.setblocking(False)
            each.connect_ex(deaf.getsockname())
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        line = fault_of("check", storage.join(s3, "key"))
        for each in full:
            each.close()
    assert "cannot reach the object store" in line


def test_no_credentials(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in fault_of("check", storage.join(s3, "key"))


def test_half_the_credentials(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "no credentials" in fault_of("check", storage.join(s3, "key"))


def test_no_such_profile(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    assert "no-such-profile" in fault_of("check", storage.join(s3, "key"))


def test_minio_without_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    assert "set AWS_ENDPOINT_URL_S3" in fault_of("check", "minio://mlpipeline/key")


def test_an_endpoint_in_the_address_wins(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    endpoint = os.environ["AWS_ENDPOINT_URL_S3"]
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    for scheme in ("s3", "minio"):
        uri = f"{scheme}://{s3.removeprefix('s3://')}/by-address/{scheme}/x?endpoint={endpoint}"
        storage.write_bytes(uri, b"1")
        assert storage.read_bytes(uri) == b"1"
        folder = f"{scheme}://{s3.removeprefix('s3://')}/by-address/{scheme}?endpoint={endpoint}"
        (file,) = storage.list_files(folder)
        assert storage.read_bytes(file.uri) == b"1"
        assert storage.localize(file.uri).read_bytes() == b"1"


def test_a_proxy_of_the_company_is_not_asked_for_this_machine(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")  # a client that no other test has made
    storage.check_access(storage.join(s3, "key"))


def test_a_whole_bucket_is_not_deleted(s3: str) -> None:
    with pytest.raises(InputError, match="whole bucket"):
        storage.delete(s3)
