"""Who keeps a store running: real processes that open the real SeaweedFS, end, and are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.store import seaweedfs
from pipeline.store.server import EmbeddedStore
from sharpen.errors import InputError
from tests.pipeline.waiting import wait_until

pytestmark = [pytest.mark.store, pytest.mark.processes]

USE = """
import sys
from pipeline.store.server import EmbeddedStore
with EmbeddedStore(sys.argv[1]):
    print("open", flush=True)
    input()
"""
STOP = """
import sys
from pipeline.store.server import EmbeddedStore
print("open", flush=True)
EmbeddedStore(sys.argv[1]).down()
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A folder for a store; what was left running there is stopped."""
    yield tmp_path / "store"
    EmbeddedStore(tmp_path / "store").down(force=True)


def start(program: str, directory: Path, *, wait: bool = True) -> subprocess.Popen[str]:
    """A process that uses the store until a line comes."""
    command = [sys.executable, "-c", program, str(directory)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    if wait:
        assert process.stdout.readline() == "open\n"
    return process


def processes_of(directory: Path) -> list[int]:
    """Every process that works in the store's folder: its supervisor and its program."""
    found = []
    for process in psutil.process_iter(["cwd"]):
        if process.info["cwd"] == str(directory) and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def test_the_first_user_to_end_leaves_the_store_to_the_other(directory: Path) -> None:
    store = EmbeddedStore(directory)
    first = start(USE, directory)
    second = start(USE, directory)
    pid = store.status().pid
    first.communicate("\n")
    assert first.returncode == 0
    assert store.status().pid == pid, "it goes on as it was"
    second.communicate("\n")
    assert not store.status().running, "the last one stops it before it ends"
    wait_until(lambda: not processes_of(directory))


def test_a_killed_user_does_not_count_and_a_store_of_killed_users_is_stopped(directory: Path) -> None:
    first, second = start(USE, directory), start(USE, directory)
    first.kill()
    time.sleep(1.5)
    assert EmbeddedStore(directory).status().running
    second.kill()
    wait_until(lambda: not processes_of(directory))
    assert not list((directory / "users").iterdir())


def test_a_user_that_is_killed_while_it_starts_the_store_leaves_nothing(directory: Path) -> None:
    killed = start(USE, directory, wait=False)
    wait_until(lambda: bool(processes_of(directory)))
    killed.kill()
    wait_until(lambda: not processes_of(directory))


def test_a_killed_supervisor_takes_the_store_with_it(directory: Path) -> None:
    with EmbeddedStore(directory) as store:
        pid = store.status().pid
        (supervisor,) = [process for process in processes_of(directory) if process != pid]
        os.kill(supervisor, signal.SIGKILL)
        wait_until(lambda: not processes_of(directory))


def test_a_store_that_was_told_to_stay_outlives_its_users_and_down_names_them(directory: Path) -> None:
    store = EmbeddedStore(directory)
    assert store.up()
    user = start(USE, directory)
    with pytest.raises(InputError, match=rf"in use by -c .*\(process {user.pid}\); it stops when they have ended"):
        store.down()
    assert store.status().running
    assert not store.up(), "again it is told to stay"
    user.communicate("\n")
    assert store.status().running
    assert store.down()

    store.up()
    user = start(USE, directory)
    with pytest.raises(InputError):
        store.down()
    user.communicate("\n")
    assert not store.status().running, "once told to stop it is stopped by the last user"


def test_users_that_open_it_at_once_start_one_and_leave_none(directory: Path) -> None:
    users = [start(USE, directory, wait=False) for _ in range(4)]
    assert all(user.stdout and user.stdout.readline() == "open\n" for user in users)
    assert len(processes_of(directory)) == 2
    for user in users:
        assert user.stdin
        user.stdin.write("\n")
        user.stdin.close()
    assert [user.wait(60) for user in users] == [0] * 4
    wait_until(lambda: not processes_of(directory))


def test_a_start_after_an_interrupted_stop_starts_anew(directory: Path) -> None:
    store = EmbeddedStore(directory)
    store.up()
    pid = store.status().pid
    stopping = start(STOP, directory)
    time.sleep(0.3)
    stopping.terminate()
    stopping.wait()
    with store:
        assert store.status().pid != pid
        time.sleep(2.5)
        assert store.status().running, "and nobody stops the new one"


def test_nothing_of_it_is_left_in_the_temporary_folder(directory: Path) -> None:
    store = EmbeddedStore(directory)
    with store:
        names = seaweedfs.sockets(store.folder.state().ports)
        assert any(Path(name).exists() for name in names), "the names are right"
        pid = store.status().pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not processes_of(directory))
    assert not [name for name in names if (directory / name).exists()]
