"""A store that goes away: waited for within a budget, told, and never called the user's fault once it has answered."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.store.server import EmbeddedStore
from sharpen import retry
from sharpen.errors import SharpenError
from sharpen.store import object_store, storage
from sharpen.store import retry as store_retry
from sharpen.uri import StoreUnavailable, Unreachable, parse_remote
from tests.sharpen.store.store_proxy import Answer, Request, StoreProxy, refusal
from tests.store_outages import own_store

pytestmark = pytest.mark.store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with own_store(tmp_path_factory.mktemp("outages")) as one:
        yield one


def after(seconds: float, act: Callable[[], object]) -> threading.Thread:
    """A thread that does something in a while."""

    def wait_and_act() -> None:
        time.sleep(seconds)
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def test_a_store_that_is_stopped_in_the_middle(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within the budget it is waited for; after it the run has failed, and not the user."""
    monkeypatch.setattr(retry, "FIRST_LINE_SECONDS", 0.5)
    address, data = storage.join(store.root, "stopped"), os.urandom(object_store.PART_BYTES + 7)
    endpoint = store.env()["AWS_ENDPOINT_URL_S3"]
    with storage.publish(address, producer="test") as folder:
        (folder / "weights").write_bytes(data)
        store.down(force=True)
        with monkeypatch.context() as patch:
            patch.setenv("SHARPEN_STORE_TIMEOUT", "1.5")
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match=r"connection refused.*given up after 0:") as caught:
                storage.read_bytes(storage.join(store.root, "x"))
            assert caught.value.exit_code == 1 and "\n" not in str(caught.value)
            assert time.monotonic() - began < 60
        back = after(0, store.up)
    back.join()
    assert (storage.open_artifact(address) / "weights").read_bytes() == data
    said = capsys.readouterr().err.splitlines()
    assert (
        said[0].startswith(f"waiting for the object store at {endpoint} (for 0:0") and "connection refused" in said[0]
    )
    assert said[-1].startswith(f"the object store at {endpoint} answers again, after 0:")


def test_a_store_that_hangs_and_goes_on_is_waited_for(store: EmbeddedStore) -> None:
    pid = store.status().pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    on = after(1.5, lambda: os.kill(pid, signal.SIGCONT))
    storage.write_bytes(storage.join(store.root, "hung"), b"x")
    assert time.monotonic() - began > 1.3
    on.join()
    assert storage.read_bytes(storage.join(store.root, "hung")) == b"x"


def test_a_store_that_hangs_is_given_up_when_the_budget_ends(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It takes the connection, and the first bytes, and answers nothing."""
    storage.exists(store.root)
    path, remote = tmp_path / "weights", parse_remote(f"{store.root}/hung/weights")
    path.write_bytes(os.urandom(object_store.PART_BYTES + 7))
    pid = store.status().pid
    assert pid
    monkeypatch.setenv("SHARPEN_STORE_TIMEOUT", "1")
    os.kill(pid, signal.SIGSTOP)
    try:
        for act in (lambda: object_store.upload(remote, path), lambda: storage.list_files(store.root)):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match="cannot reach the object store"):
                act()
            assert time.monotonic() - began < 40
    finally:
        os.kill(pid, signal.SIGCONT)
    monkeypatch.setenv("SHARPEN_STORE_TIMEOUT", "60")
    object_store.upload(remote, path)
    assert storage.read_bytes(f"{store.root}/hung/weights") == path.read_bytes()


def first(count: int, answer: Callable[[Request], Answer | None]) -> Callable[[Request], Answer | None]:
    """The first so many answers, then the store's own."""
    left = iter(range(count))
    return lambda asked: answer(asked) if next(left, None) is not None else None


def test_a_burst_of_busy_answers_does_not_end_a_probe(store: EmbeddedStore) -> None:
    busy = first(4, lambda _: refusal(503, "SlowDown"))
    with StoreProxy(store.env()["AWS_ENDPOINT_URL_S3"], busy) as proxy:
        address = f"{store.root}/burst?endpoint={proxy.endpoint}"
        with storage.publish(address, producer="test") as folder:
            (folder / "a").write_text("1")
    assert storage.is_complete(f"{store.root}/burst")


def test_a_connection_that_breaks_inside_a_small_body_is_made_again(store: EmbeddedStore) -> None:
    storage.write_bytes(f"{store.root}/small", b"0123456789" * 100)
    behind = store.env()["AWS_ENDPOINT_URL_S3"].rpartition(":")[2]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def relay() -> None:
            for number in range(3):
                there, _ = server.accept()
                with there, socket.create_connection(("127.0.0.1", int(behind))) as store_side:
                    store_side.sendall(there.recv(65536))
                    store_side.settimeout(0.4)
                    answer = b""
                    try:
                        while piece := store_side.recv(65536):
                            answer += piece
                    except TimeoutError:
                        pass
                    if number < 2:
                        # half the answer, then a reset
                        there.sendall(answer[:-500])
                        time.sleep(0.1)
                        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    else:
                        there.sendall(answer)

        thread = threading.Thread(target=relay, daemon=True)
        thread.start()
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert storage.read_bytes(f"{store.root}/small?endpoint={endpoint}") == b"0123456789" * 100
        thread.join()


def test_an_upload_in_parts_survives_answers_that_fail(store: EmbeddedStore, tmp_path: Path) -> None:
    """Every kind of request of an upload in parts fails twice, and the answer of the last is lost."""
    failed: dict[str, int] = {}
    kinds = {"begin": ("POST", "uploads"), "part": ("PUT", "partNumber=2"), "complete": ("POST", "uploadId")}

    def kind_of(asked: Request) -> str:
        return next(
            (kind for kind, (method, mark) in kinds.items() if (asked.method, mark in asked.path) == (method, True)), ""
        )

    def fails(asked: Request) -> Answer | None:
        kind = kind_of(asked)
        failed[kind] = failed.get(kind, 0) + 1
        return refusal(500, "InternalError") if kind in ("begin", "part") and failed[kind] <= 2 else None

    def lost(asked: Request, status: int) -> Answer | None:
        return refusal(504, "GatewayTimeout") if kind_of(asked) == "complete" and failed["complete"] <= 2 else None

    path = tmp_path / "weights"
    path.write_bytes(os.urandom(2 * object_store.PART_BYTES + 5))
    with StoreProxy(store.env()["AWS_ENDPOINT_URL_S3"], fails, lost) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        with storage.publish(f"{store.root}/in-parts", producer="test") as folder:
            path.rename(folder / "weights")
    assert all(failed[kind] == 3 for kind in kinds)
    assert storage.open_artifact(f"{store.root}/in-parts").is_dir()


def test_a_step_of_a_run_takes_the_runs_store_for_known(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setattr(retry, "FIRST_CONTACT_SECONDS", 0.2)
    monkeypatch.setattr(store_retry, "_first_contact", False)
    monkeypatch.setenv("SHARPEN_STORE_TIMEOUT", "0.4")
    other = f"{store.root}/x?endpoint={endpoint}"
    with pytest.raises(Unreachable) as outside:
        storage.exists(other)
    assert outside.value.exit_code == 2
    monkeypatch.setenv("KFP_RUN_ID", "a-run")
    with pytest.raises(StoreUnavailable) as inside:
        storage.exists(other)
    assert inside.value.exit_code == 1
    # the step that meets the run's inputs first
    store_retry.expect_first_contact()
    with pytest.raises(Unreachable):
        storage.exists(other)
    # the command has asked the store that this run writes to
    monkeypatch.setenv("SHARPEN_RUN", f"{store.root}/runs/r1?endpoint={endpoint}")
    with pytest.raises(StoreUnavailable):
        storage.exists(other)
    # what answered is known, and that is not the endpoint of the run
    assert storage.exists(store.root)


def test_a_web_server_is_no_empty_store(store: EmbeddedStore) -> None:
    page = Answer(200, b"<!doctype html><html><body>Welcome<br></body></html>", (("Content-Type", "text/html"),))
    xml = Answer(200, b"<html><body>Welcome</body></html>", (("Content-Type", "text/html"),))
    calls = (storage.exists, storage.list_files, storage.list_folders, storage.check_access, storage.read_bytes)
    for answer in (page, xml):
        with (
            StoreProxy(store.env()["AWS_ENDPOINT_URL_S3"], lambda _, answer=answer: answer) as proxy,
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(retry, "FIRST_CONTACT_SECONDS", 0)
            for asks in calls:
                with pytest.raises(Unreachable, match="does not answer as an object store does") as caught:
                    asks(f"{store.root}/x?endpoint={proxy.endpoint}")
                assert len(caught.value.faults) == 1


def test_a_damaged_listing_is_asked_for_again_and_else_told_in_one_line(store: EmbeddedStore) -> None:
    for name in ("a", "b"):
        storage.write_bytes(f"{store.root}/listed/{name}", b"1")
    damages: list[tuple[bytes, bytes]] = [(b"<Size>1<", b"<Size>q<"), (b"</Key>", b"</Kex>"), (b"<ETag>", b"<ETah>")]
    for old, new in damages:
        broken = [False, True, False, False]

        def damaged(_: Request, body: bytes, old: bytes = old, new: bytes = new, broken: list[bool] = broken) -> bytes:
            return body.replace(old, new) if not broken or broken.pop(0) else body

        with (
            StoreProxy(store.env()["AWS_ENDPOINT_URL_S3"], on_the_way_back=damaged) as proxy,
            pytest.MonkeyPatch.context() as patch,
        ):
            address = f"{store.root}/listed?endpoint={proxy.endpoint}"
            assert [storage.exists(f"{address}"), len(storage.list_files(address))] == [True, 2]
            patch.setenv("SHARPEN_STORE_TIMEOUT", "0.5")
            with pytest.raises(SharpenError) as caught:
                storage.list_files(address)
            assert caught.value.exit_code == 1 and "\n" not in str(caught.value)
