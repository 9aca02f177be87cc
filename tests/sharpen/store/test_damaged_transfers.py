"""A byte that flips on its way is found before a marker says that it is whole, or the cache holds it."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
from pathlib import Path

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from sharpen.store import checksums, download_cache, object_store, s3_download, s3_upload, storage
from sharpen.uri import DamagedTransfer, parse_remote
from tests.sharpen.store.store_proxy import Answer, Request, StoreProxy, refusal

pytestmark = pytest.mark.store
_numbers = itertools.count()
PART = 5 * 2**20
SMALL, LARGE = 3_000, PART + 3_000


@pytest.fixture(autouse=True)
def own_cache_and_small_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that another test has fetched; and the smallest parts that S3 takes."""
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "cache"))
    for module in (s3_download, s3_upload):
        monkeypatch.setattr(module, "PART_BYTES", PART)


@pytest.fixture
def root(s3: str) -> str:
    """An unused folder in a real store."""
    return storage.join(s3, f"damaged-{next(_numbers)}")


def flipped(data: bytes) -> bytes:
    """The same with another bit in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


class Flips:
    """Flips a bit in the bodies of content, from `first` on, `count` times."""

    def __init__(self, first: int, count: int) -> None:
        self.numbers = range(first, first + count)
        self.seen = itertools.count()

    def request(self, asked: Request) -> bytes:
        if asked.method == "PUT" and len(asked.body) > 1_000 and next(self.seen) in self.numbers:
            return flipped(asked.body)
        return asked.body

    def answer(self, asked: Request, body: bytes) -> bytes:
        content = asked.method == "GET" and "list-type" not in asked.path and len(body) > 1_000
        return flipped(body) if content and next(self.seen) in self.numbers else body


def endpoint() -> str:
    return os.environ["AWS_ENDPOINT_URL_S3"]


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_flip_in_an_upload_is_sent_again(root: str, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    data, flips = os.urandom(size), Flips(0, 2)
    with StoreProxy(endpoint(), on_the_way=flips.request) as proxy, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        with storage.publish(root, producer="test") as folder:
            (folder / "weights").write_bytes(data)
    assert next(flips.seen) > 2
    (stored,) = (file for file in storage.list_files(root) if file.name == "weights")
    assert storage.read_bytes(stored.uri) == data


@pytest.mark.parametrize("compares", ["the store", "the MD5 of the answer", "what is read again"])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_line_that_flips_every_upload_leaves_no_marker(
    root: str, monkeypatch: pytest.MonkeyPatch, size: int, compares: str
) -> None:
    """Whatever the store compares: checksums, nothing but ETags that are MD5s, or nothing at all."""
    data, flips = os.urandom(size), Flips(0, 10**6)
    if compares != "the store":
        # a store that takes what comes: the body's own checksum stands for that of the request
        monkeypatch.setattr(
            s3_upload,
            "_send",
            lambda operation, remote, data, **more: operation(Bucket=remote.bucket, Key=remote.key, Body=data, **more),
        )
    if compares == "what is read again":
        monkeypatch.setenv("SHARPEN_STORE_ETAGS", "opaque")
    with StoreProxy(endpoint(), on_the_way=flips.request) as proxy, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        with (
            pytest.raises(DamagedTransfer, match="damaged on its way to the object store") as caught,
            storage.publish(root, producer="test") as folder,
        ):
            (folder / "weights").write_bytes(data)
    assert caught.value.exit_code == 1 and "\n" not in str(caught.value)
    assert not storage.is_complete(root)


def test_a_store_that_refuses_checksums_is_asked_once(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the MD5 of the request is what it compares."""
    asked_with: list[bool] = []

    def refuses(asked: Request) -> Answer | None:
        headers = {name.lower() for name in asked.headers}
        if asked.method != "PUT" and "uploads" not in asked.path:
            return None
        asked_with.append(any(name.startswith("x-amz-checksum") for name in headers))
        return refusal(501, "NotImplemented") if asked_with[-1] else None

    flips = Flips(0, 0)
    with StoreProxy(endpoint(), refuses, on_the_way=lambda asked: flips.request(asked)) as proxy:
        address = f"{root}?endpoint={proxy.endpoint}"
        with storage.publish(address, producer="test") as folder:
            (folder / "large").write_bytes(os.urandom(LARGE))
            (folder / "small").write_bytes(os.urandom(SMALL))
        assert sum(asked_with) == 1
        flips = Flips(0, 10**6)
        with pytest.raises(DamagedTransfer, match="BadDigest"):
            storage.write_bytes(f"{root}/more?endpoint={proxy.endpoint}", os.urandom(SMALL))
    assert storage.open_artifact(root).is_dir()


def put_raw(root: str, name: str, data: bytes, **more: str) -> str:
    """A file of the user's, stored by another program; its address."""
    client = boto3.client("s3", endpoint_url=endpoint())
    bucket, _, key = root.removeprefix("s3://").partition("/")
    client.put_object(Bucket=bucket, Key=f"{key}/{name}", Body=data, **more)
    return storage.join(root, name)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("kind", ["finished", "plain", "with a checksum"])
def test_a_flip_in_a_download_never_enters_the_cache(
    root: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int, kind: str
) -> None:
    data = os.urandom(size)
    if kind == "finished":
        with storage.publish(root, producer="test") as folder:
            (folder / "rows").write_bytes(data)
    elif kind == "plain":
        path = tmp_path / "rows"
        path.write_bytes(data)
        object_store.upload(parse_remote(f"{root}/rows"), path)
    else:
        put_raw(root, "rows", data, ChecksumAlgorithm="CRC32")
        monkeypatch.setenv("SHARPEN_STORE_ETAGS", "opaque")
    for flips, arrives in ((Flips(0, 10**6), False), (Flips(0, 2), True)):
        with StoreProxy(endpoint(), on_the_way_back=flips.answer) as proxy, monkeypatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)

            def fetch() -> Path:
                return storage.open_artifact(root) / "rows" if kind == "finished" else storage.localize(f"{root}/rows")

            if arrives:
                assert fetch().read_bytes() == data
            else:
                with pytest.raises(DamagedTransfer, match="damaged") as caught:
                    fetch()
                assert caught.value.exit_code == 1 and "\n" not in str(caught.value)
                entries = (download_cache.cache_folder() / "entries").iterdir()
                assert not [entry for entry in entries if not entry.name.endswith(".lock")]
        assert next(flips.seen) > 2


def test_an_upload_of_another_program_in_parts_is_compared_with_its_etag(
    root: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Parts of 8 MiB, as the AWS tools upload; the store says their size."""
    data = os.urandom(2**24 + 1)
    config = TransferConfig(multipart_threshold=2**23, multipart_chunksize=2**23)
    client = boto3.client("s3", endpoint_url=endpoint(), config=Config(request_checksum_calculation="when_required"))
    bucket, _, key = root.removeprefix("s3://").partition("/")
    client.upload_fileobj(io.BytesIO(data), bucket, f"{key}/rows", Config=config)
    assert storage.localize(f"{root}/rows").read_bytes() == data
    with StoreProxy(endpoint(), on_the_way_back=Flips(1, 10**6).answer) as proxy, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        patch.setenv("SHARPEN_CACHE", str(tmp_path / "another"))
        with pytest.raises(DamagedTransfer, match="damaged"):
            storage.localize(f"{root}/rows")


def test_what_a_store_gives_nothing_for_is_told(
    root: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(s3_download, "_noted_unchecked", set())
    monkeypatch.setenv("SHARPEN_STORE_ETAGS", "opaque")
    client = boto3.client("s3", endpoint_url=endpoint(), config=Config(request_checksum_calculation="when_required"))
    bucket, _, key = root.removeprefix("s3://").partition("/")
    for name in "ab":
        client.put_object(Bucket=bucket, Key=f"{key}/{name}", Body=b"12345")
    assert storage.localize(root).is_dir()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"note: {root}/a: ") and "only the size was checked" in line


@pytest.mark.parametrize("size", [0, 1, 10, 11, 20, 25])
def test_the_etag_of_parts(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "x").write_bytes(data)
    parts = [data[start : start + 10] for start in range(0, size, 10)] or [b""]
    right = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
    assert checksums.md5_of_parts(tmp_path / "x", 10) == f"{right}-{len(parts)}"
