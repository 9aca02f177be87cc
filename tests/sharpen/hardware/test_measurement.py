"""What is fast here is measured once, kept, handed on, and decides; near ties leave the usual choice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sharpen.hardware import device
from sharpen.hardware import measurement as hardware
from sharpen.hardware.device import use_bf16
from sharpen.hardware.thread_pool import worker_count

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(hardware, "_chosen", None)
    monkeypatch.setenv(hardware.VARIABLE, "")
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path))
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def measured_as(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float]) -> list[str]:
    """Let each run take so long; returns what was run."""
    told: list[str] = []

    def of(runs: dict[str, Any]) -> dict[str, float]:
        told.extend(runs)
        return {name: seconds.get(name, 1.0) for name in runs}

    monkeypatch.setattr(hardware, "_seconds", of)
    return told


@pytest.mark.parametrize(
    ("bf16", "chosen"), [(0.5, "bf16"), (0.86, "bf16"), (0.9, "fp32"), (1.0, "fp32"), (1.8, "fp32")]
)
def test_bf16_is_used_where_it_is_clearly_faster(bf16: float, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the flags say: the machine of the fourth case has avx512_bf16."""
    measured_as(monkeypatch, {"bf16": bf16})
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert hardware.choices()["precision"] == chosen
    assert use_bf16("auto", CPU) == (chosen == "bf16")
    assert use_bf16("bf16", CPU) and not use_bf16("fp32", CPU)


@pytest.mark.parametrize(("bf16", "slow"), [(0.5, False), (1.0, False), (40.0, True)])
def test_bf16_that_was_set_where_it_is_slow_is_said_once(
    bf16: float, slow: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    measured_as(monkeypatch, {"bf16": bf16})
    device._warn_where_slow.cache_clear()
    assert use_bf16("bf16", CPU) and use_bf16("bf16", CPU) and not use_bf16("fp32", CPU)
    device._warn_where_slow.cache_clear()
    said = [record.message for record in caplog.records if "precision" in record.message]
    assert said == slow * [
        "note: precision: bf16 was set, but a step takes about 40.0 times as long as in fp32 on this processor; leave "
        "it at auto to have the faster one"
    ]


def test_attention_by_length_and_use(monkeypatch: pytest.MonkeyPatch) -> None:
    measured_as(monkeypatch, {})
    ties = {
        (p, n, t): hardware.fast_attention(p, n, training=t)
        for p in ("fp32", "bf16")
        for n in (64, 512, 513)
        for t in (True, False)
    }
    assert {name for (_, longest, _), name in ties.items() if longest == 513} == {"sdpa"}
    assert ties["bf16", 512, True] == ties["bf16", 64, False] == "eager_bf16"
    assert (ties["fp32", 64, True], ties["fp32", 64, False]) == ("eager", "sdpa")
    monkeypatch.setattr(hardware, "_chosen", None)
    monkeypatch.setenv(hardware.VARIABLE, "")
    monkeypatch.setattr(hardware, "_from_file", lambda: None)
    measured_as(monkeypatch, {"sdpa": 0.8, "eager": 0.5})
    assert hardware.fast_attention("bf16", 64, training=True) == "sdpa"
    assert hardware.fast_attention("fp32", 2048, training=False) == "eager"
    assert hardware.fast_attention("fp32", 8192, training=False) == "sdpa"


def test_the_measurement_is_short_and_told_and_leaves_nothing(capsys: pytest.CaptureFixture) -> None:
    state, threads, began = torch.get_rng_state(), torch.get_num_threads(), time.process_time()
    found = hardware.choices()
    # two seconds on a machine that does nothing else; this one may be busy, and slow
    assert time.process_time() - began < 10
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads
    assert (
        capsys.readouterr().out.count(f"hardware: {found['precision']} is used on at most {found['threads']} thread")
        == 1
    )
    assert {name for table in found["attention"].values() for name in table.values()} <= {"eager", "eager_bf16", "sdpa"}
    assert found["machine"] == hardware.machine() and f"{found['bf16_speed']:.2f}" in hardware.described()


def test_it_is_kept_for_the_next_process_and_handed_to_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured_as(monkeypatch, {"bf16": 0.25})
    chosen = hardware.choices()
    assert json.loads(os.environ[hardware.VARIABLE]) == chosen
    program = "import json; from sharpen.hardware import measurement as h; print(json.dumps(h.choices()))"

    def child(**variables: str) -> Any:
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        run = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
        return json.loads(run.stdout.splitlines()[-1])

    # by the file, and by the variable where there is none
    assert child(**{hardware.VARIABLE: ""}) == chosen
    assert child(SHARPEN_CACHE=str(tmp_path / "other")) == chosen
    for path in tmp_path.glob("hardware/*"):
        path.write_text("{}")
    measured_as(monkeypatch, {"bf16": 2.0})
    monkeypatch.setattr(hardware, "_chosen", None)
    assert hardware.choices() == chosen, "a parent's choice stands before a new measurement"
    monkeypatch.setattr(hardware, "_chosen", None)
    monkeypatch.setenv(hardware.VARIABLE, json.dumps({**chosen, "machine": "another"}))
    assert hardware.choices()["precision"] == "fp32", "what holds for another machine is measured anew"
    assert hardware._from_file() == hardware.choices(), "and a damaged file is replaced"


def test_of_two_processes_that_measured_at_once_both_take_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    measured_as(monkeypatch, {"bf16": 0.5})
    first = hardware._written(hardware._measured())
    second = hardware._written({**first, "precision": "fp32"})
    assert second == first


def test_threads_are_those_requested_or_this_process_share_of_the_fast_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    measured_as(monkeypatch, {})
    monkeypatch.setattr(hardware, "fast_thread_count", lambda cores: 6)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(hardware, "available_cores", lambda: 8)
    assert hardware.fast_threads() == worker_count(CPU, 99) == 6
    assert worker_count(CPU, 4) == 4 and worker_count(torch.device("cuda"), 99) == 0
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert hardware.fast_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert hardware.fast_threads() == 3
    hardware.adopt({**hardware.choices(), "precision": "bf16", "threads": 64})
    assert (hardware.choices()["precision"], hardware.choices()["threads"]) == ("bf16", 6), "another machine's threads"


def test_the_choice_of_another_process_can_be_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    measured_as(monkeypatch, {"bf16": 0.5})
    mine = hardware.choices()
    hardware.adopt({**mine, "precision": "fp32"})
    assert not use_bf16("auto", CPU)
    assert json.loads(os.environ[hardware.VARIABLE])["precision"] == "fp32"
