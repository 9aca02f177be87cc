"""Free memory: of the machine, of a container's limit, of one process among several."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from sharpen.hardware import free_memory
from sharpen.hardware.free_memory import free_bytes

CPU = torch.device("cpu")
MIB = 2**20


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 1,000 MiB available and a folder of control groups; processes of which there is one."""
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000 * MIB))
    monkeypatch.setattr(free_memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(free_memory, "PROCESS_CGROUPS", tmp_path / "own")
    return tmp_path


def group(folder: Path, limit: str, used: int, droppable: int, *, old: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if old else ("memory.max", "memory.current")
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{'total_' if old else ''}inactive_file {droppable}\n")


def test_without_limits_it_is_the_machine_s(machine: Path) -> None:
    assert free_bytes(CPU) == 1000 * MIB
    (machine / "own").write_text("0::/\n")
    assert free_bytes(CPU) == 1000 * MIB
    group(machine, "max", 5, 5)
    assert free_bytes(CPU) == 1000 * MIB


def test_the_limit_of_a_container_counts(machine: Path) -> None:
    (machine / "own").write_text("0::/\n")
    group(machine, str(600 * MIB), 250 * MIB, 50 * MIB)
    assert free_bytes(CPU) == 400 * MIB


def test_the_tightest_of_the_groups_around_a_process_counts(machine: Path) -> None:
    (machine / "own").write_text("0::/pods/this/container\n")
    group(machine / "pods", str(900 * MIB), 0, 0)
    group(machine / "pods" / "this", str(500 * MIB), 300 * MIB, 0)
    group(machine / "pods" / "this" / "container", "max", 0, 0)
    assert free_bytes(CPU) == 200 * MIB


def test_control_groups_of_the_first_version(machine: Path) -> None:
    (machine / "own").write_text("4:memory:/pod\n3:cpu,cpuacct:/pod\n")
    group(machine / "memory" / "pod", str(500 * MIB), 100 * MIB, 20 * MIB, old=True)
    assert free_bytes(CPU) == 420 * MIB


def test_a_limit_that_is_used_up_leaves_nothing(machine: Path) -> None:
    (machine / "own").write_text("0::/\n")
    group(machine, str(100 * MIB), 120 * MIB, 0)
    assert free_bytes(CPU) == 0


def test_processes_of_a_machine_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert free_bytes(CPU) == 250 * MIB


def test_a_gpu_counts_what_this_process_reserved_and_does_not_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (700, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 200)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 150)
    assert free_bytes(torch.device("cuda", 0)) == 750
