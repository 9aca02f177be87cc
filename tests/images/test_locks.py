"""The locked requirements: complete, hashed, and of the versions that the tests run."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from images.lock import NOT_IN_IMAGES, NOT_IN_PODS, WITHOUT_DEPENDENCIES
from tests.images.engine import ROOT
from tests.images.locks import hashes, locked

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def closure(requirements: Iterable[str]) -> set[str]:
    """Names of all packages that these need, by what the installed packages say of themselves."""
    found: set[str] = set()
    waiting = [(Requirement(line), "") for line in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = str(canonicalize_name(requirement.name))
        needs = [] if name in WITHOUT_DEPENDENCIES else metadata.requires(name) or []
        if name not in found:
            waiting += [(Requirement(line), "") for line in needs]
        for wanted in requirement.extras:
            waiting += [(Requirement(line), wanted) for line in needs if "extra" in line]
        found.add(name)
    return found


def model() -> list[str]:
    return [line for line in EXTRAS["demo"] if Requirement(line).name != PROJECT["name"]]


@pytest.mark.parametrize(
    ("name", "requirements"),
    [
        ("launcher.txt", PROJECT["dependencies"]),
        ("cpu.txt", [*PROJECT["dependencies"], *EXTRAS["steps"], *EXTRAS["lora"], *model()]),
    ],
)
def test_a_list_is_complete_and_has_nothing_more(name: str, requirements: list[str]) -> None:
    wanted = closure(line for line in requirements if Requirement(line).name not in NOT_IN_PODS)
    wanted -= {"torch", *NOT_IN_IMAGES}
    assert set(locked(name)) == wanted, "after a change of the requirements: make image-locks"


def test_the_cuda_list_is_the_cpu_list_with_torch_and_its_libraries() -> None:
    cpu, cuda = locked("cpu.txt"), locked("cuda.txt")
    assert cpu.items() <= cuda.items()
    more = set(cuda) - set(cpu)
    assert {"torch", "nvidia-nccl-cu13", "nvidia-cudnn-cu13"} <= more
    assert all(re.match("torch$|triton$|nvidia-|cuda-", name) for name in more), more


@pytest.mark.parametrize("name", ["launcher.txt", "cpu.txt", "cuda.txt", "torch-cpu.txt", "demo.txt", "dev.txt"])
def test_versions_are_those_that_the_tests_run(name: str) -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    tested = {
        str(canonicalize_name(line.partition("==")[0])): line.partition("==")[2] for line in lines if "==" in line
    }
    other = {package: version for package, version in locked(name).items() if tested.get(package, version) != version}
    assert not other, f"{other}: make image-locks"
    outside = set(locked(name)) - set(tested)
    # for GPUs, for building, and for other systems than the tests'
    known = "triton$|nvidia-|cuda-|setuptools$|colorama$|pywin32$|tzdata$|httpx2-jsfetch$"
    assert all(re.match(known, package) for package in outside), outside


@pytest.mark.parametrize(("name", "extras"), [("demo.txt", ["demo"]), ("dev.txt", ["demo", "dev"])])
def test_an_environments_list_has_all_that_is_needed_here(name: str, extras: list[str]) -> None:
    wanted = closure([f"{PROJECT['name']}[{','.join(extras)}]"]) - {PROJECT["name"], "torch"}
    missing = wanted - set(locked(name))
    assert not missing, "after a change of the requirements: make image-locks"


@pytest.mark.parametrize(
    "name", ["launcher.txt", "cpu.txt", "cuda.txt", "build.txt", "torch-cpu.txt", "demo.txt", "dev.txt"]
)
def test_every_package_has_a_hash(name: str) -> None:
    found = hashes(name)
    assert set(found) == set(locked(name))
    assert all(found.values())
