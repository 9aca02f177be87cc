"""Cores: of the machine, and those that a launcher says are this process's."""

from __future__ import annotations

import os

import pytest

from sharpen.processes.cores import available_cores, machine_cores, requested_cores
from sharpen.processes.local import LocalProcesses


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name in ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID", "MALLOC_ARENA_MAX"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("written", "requested"), [("6", 6), ("6,2", 6), ("1", 1), ("many", None), ("", None), ("0", None)]
)
def test_cores_are_those_that_a_pod_is_told_of_else_all(
    written: str, requested: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", written)
    assert (requested_cores(), available_cores(), machine_cores()) == (requested, requested or 8, 8)


def test_processes_of_torchrun_share_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert available_cores() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert available_cores() == 1


def test_children_get_their_share_of_cores_and_no_more_heaps(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = LocalProcesses("a.module", [], processes=2).environment
    assert (environment["OMP_NUM_THREADS"], environment["MALLOC_ARENA_MAX"]) == ("4", "4")
    assert LocalProcesses("a.module", [], processes=8).environment["MALLOC_ARENA_MAX"] == "2"
    monkeypatch.setenv("MALLOC_ARENA_MAX", "3")
    assert LocalProcesses("a.module", [], processes=2, threads=6).environment["MALLOC_ARENA_MAX"] == "3"
