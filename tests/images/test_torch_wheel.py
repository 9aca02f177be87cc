"""Which wheel of torch an environment gets, by pip's own word on folders of wheels made here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from images import torch_wheel
from images.torch_wheel import CPU_INDEX, VARIABLE, choose
from tests.images.engine import ROOT

TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"
FOR_CPUS = f"torch-{torch_wheel.locked_version()}+cpu-{TAG}-{TAG}-manylinux_2_28_x86_64.whl"


def pip_of(folder: Path, monkeypatch: pytest.MonkeyPatch, *wheels: str) -> None:
    """pip's configuration: only these wheels are to be had."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for wheel in wheels:
        (folder / wheel).touch()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


@pytest.mark.parametrize(
    ("gpu", "wanted", "where", "arguments"),
    [
        (False, "", [[], ["--extra-index-url", CPU_INDEX]], ["torch==2.9.0+cpu"]),
        (False, "", [["--extra-index-url", CPU_INDEX]], ["--extra-index-url", CPU_INDEX, "torch==2.9.0+cpu"]),
        (False, "", [], ["torch==2.9.0"]),
        (False, "cuda", [[]], ["torch==2.9.0"]),
        (True, "", [[]], ["torch==2.9.0"]),
        (True, "cpu", [[]], ["torch==2.9.0+cpu"]),
    ],
)
def test_the_wheel_by_machine_and_by_what_can_be_had(
    gpu: bool, wanted: str, where: list[list[str]], arguments: list[str]
) -> None:
    choice = choose("2.9.0", gpu=gpu, offers=lambda version, options: list(options) in where, wanted=wanted)
    assert choice.arguments == arguments
    assert ("3 GB of CUDA" in choice.reason) == (not gpu and not where)


def test_pip_is_asked_for_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_of(tmp_path, monkeypatch, FOR_CPUS.replace(TAG, "cp38"))
    assert not torch_wheel.pip_offers(f"{torch_wheel.locked_version()}+cpu", [])
    (tmp_path / FOR_CPUS).touch()
    assert torch_wheel.pip_offers(f"{torch_wheel.locked_version()}+cpu", [])


def test_what_is_taken_is_told_beside_what_pip_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_of(tmp_path, monkeypatch, FOR_CPUS)
    monkeypatch.setenv(VARIABLE, "cpu")
    done = subprocess.run([sys.executable, ROOT / "images/torch_wheel.py"], capture_output=True, text=True, check=True)
    version = torch_wheel.locked_version()
    assert done.stdout.split() == [f"torch=={version}+cpu"]
    assert done.stderr == f"  torch {version}+cpu: the wheel for processors alone, from pip's own configuration\n"
    monkeypatch.setenv(VARIABLE, "rocm")
    done = subprocess.run([sys.executable, ROOT / "images/torch_wheel.py"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, f"error: {VARIABLE}=rocm: write cpu or cuda, or leave it out\n")
