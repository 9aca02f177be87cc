"""Addresses as users write them: what is none is one line, and a secret in one is never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sharpen.errors import InputError
from sharpen.store import storage
from sharpen.uri import local_path, parse_remote, split_addresses

SECRET = "t0p-s3cret"


def line_of(error: pytest.ExceptionInfo[InputError]) -> str:
    (line,) = error.value.faults
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://b/k?endpoint=http://user:{SECRET}@host:9000",
        f"s3://b/k?endpoint=http%3A%2F%2Fuser%3A{SECRET}%40host",
        f"s3://b/k?endpoint=user:{SECRET}@host",
        f"s3://user:{SECRET}@b/k",
        f"s3://b/k?secret={SECRET}",
        f"s3://b//k?endpoint=http://user:{SECRET}@host",
        f"https://user:{SECRET}@host/k",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_remote(uri)
    assert SECRET not in line_of(caught)
    for call in (storage.exists, storage.read_bytes, storage.localize, storage.open_artifact, storage.check_access):
        with pytest.raises(InputError) as caught:
            call(uri)
        assert SECRET not in line_of(caught)


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
def test_a_secret_in_the_endpoints_variable_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setenv(variable, f"http://user:{SECRET}@host:9000")
    with pytest.raises(InputError, match=variable) as caught:
        storage.exists("s3://b/k")
    assert SECRET not in line_of(caught) and "AWS_SECRET_ACCESS_KEY" in line_of(caught)


@pytest.mark.parametrize(
    "endpoint", ["http://[::1", "http://host:port", "http://host:99999", "host:9000", "ftp://h", "http://"]
)
def test_an_endpoint_that_is_none(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="is not an http:// or https:// address"):
        parse_remote(f"s3://b/k?endpoint={endpoint}")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    with pytest.raises(InputError, match=r"AWS_ENDPOINT_URL_S3: .* is not an http:// or https:// address"):
        storage.exists("s3://b/k")


def test_an_endpoint_of_ip_version_6() -> None:
    assert parse_remote("s3://b/k?endpoint=http://[::1]:9000").endpoint == "http://[::1]:9000"


CALLS = [
    storage.exists,
    storage.read_bytes,
    storage.list_files,
    storage.list_folders,
    storage.localize,
    storage.open_artifact,
    storage.is_complete,
    storage.check_access,
    lambda path: storage.check_access(path, write=True),
    lambda path: storage.write_bytes(path, b"x"),
]


@pytest.mark.parametrize("path", ["x" * 300, "~nobody-of-this-name/x", "a\0b", ""])
@pytest.mark.parametrize("call", CALLS)
def test_a_path_that_cannot_be(path: str, call: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        call(path)  # type: ignore[operator]
    line_of(caught)


def test_a_folder_where_a_file_is_due(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a usable path") as caught:
        storage.read_bytes(str(tmp_path))
    line_of(caught)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_the_right_to_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1")
    (tmp_path / "x").chmod(0)
    with pytest.raises(InputError, match="no right"):
        storage.read_bytes(str(tmp_path / "x"))


def test_many_long_addresses_are_no_path() -> None:
    addresses = [f"s3://bucket/{'x' * 100}-{number}" for number in range(5)]
    assert split_addresses(",".join(addresses)) == addresses
    with pytest.raises(InputError, match="too deeply nested"):
        split_addresses("[" * 100_000)
    assert local_path("~") == Path.home()
