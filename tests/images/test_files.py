"""The files that images are built from: pinned, and clean in the eyes of the tools made for them."""

from __future__ import annotations

import re
import subprocess

import pytest

from components.kfp_context import IMAGE, LAUNCHER_IMAGE
from tests.images.conftest import no_cuda
from tests.images.engine import ROOT
from tests.images.steps import step_imports
from tests.tools import tool

DOCKERFILE = (ROOT / "images/Dockerfile").read_text()


def test_the_base_is_pinned_by_digest_and_there_is_no_other() -> None:
    defaults = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert len(defaults) == 1
    assert re.search(r":[\w.-]+@sha256:[0-9a-f]{64}$", defaults[0])
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    sources = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) + re.findall(r"--from=(\S+)", DOCKERFILE)
    assert set(sources) - set(stages) == {"${PYTHON_IMAGE}"}


def test_nothing_is_copied_that_the_context_leaves_out() -> None:
    """What may be copied is listed in .dockerignore; all else, secrets too, never reaches the engine."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    lines = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    copied = {source for line in lines for source in line.split()}
    assert all(any(source == name or source.startswith(f"{name}/") for name in allowed) for source in copied)
    assert all(any(source == name or source.startswith(f"{name}/") for source in copied) for name in allowed)
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines()


def test_bake_builds_the_stages_of_the_dockerfile_with_its_arguments() -> None:
    hcl2 = pytest.importorskip("hcl2")

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {str(plain(key)): plain(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        return value.strip('"') if isinstance(value, str) else value

    with (ROOT / "images/docker-bake.hcl").open() as file:
        bake = plain(hcl2.load(file))
    assert isinstance(bake, dict)
    targets = {name: body for block in bake["target"] for name, body in block.items()}
    groups = {name: body["targets"] for block in bake["group"] for name, body in block.items()}
    assert groups == {"default": ["launcher", "cpu"], "all": ["launcher", "cpu", "cuda"]}
    for name in groups["all"]:
        assert targets[name]["target"] == name
        assert f" AS {name}\n" in DOCKERFILE
        assert targets[name]["tags"] == [f"${{REGISTRY}}/sharpen-python-{name}:${{TAG}}"]
    assert {f"ARG {name}" for name in targets["common"]["args"] if f"ARG {name}=" not in DOCKERFILE} == set()
    assert (ROOT / targets["common"]["dockerfile"]).samefile(ROOT / "images/Dockerfile")
    assert "type=sbom" in targets["common"]["attest"]
    assert "type=provenance,mode=max" in targets["common"]["attest"]
    variables = {name: body for block in bake["variable"] for name, body in block.items()}
    assert variables["ATTEST"]["default"] is True
    assert "latest" in variables["TAG"]["validation"][0]["condition"]


def test_hadolint() -> None:
    subprocess.run([tool("hadolint"), str(ROOT / "images/Dockerfile")], check=True)


def test_shellcheck() -> None:
    scripts = [str(path) for folder in ("images", "k8s") for path in (ROOT / folder).rglob("*.sh")]
    assert scripts
    subprocess.run([tool("shellcheck"), *scripts], check=True)


@pytest.mark.parametrize(
    ("variables", "free", "reason"),
    [
        ({}, 60, ""),
        ({}, 20, "20 GB of disk are free, 25 wanted"),
        ({"CI": "true"}, 60, "SHARPEN_TEST_CUDA=1 builds it"),
        ({"CI": "true", "SHARPEN_TEST_CUDA": "1"}, 20, ""),
        ({"SHARPEN_TEST_CUDA": "0"}, 60, "SHARPEN_TEST_CUDA=1 builds it"),
    ],
)
def test_when_the_image_with_cuda_is_built(variables: dict[str, str], free: int, reason: str) -> None:
    found = no_cuda(variables, free * 10**9)
    assert (reason in found) if reason else not found


def test_imports_of_steps_are_found_by_the_image_of_each() -> None:
    found = step_imports()
    assert "from components.hard_negatives.step import run_step" in found[IMAGE]
    assert "from components.promotion.step import run_step" in found[LAUNCHER_IMAGE]
    assert "from components.promotion.step import run_step" not in found[IMAGE]
    for lines in found.values():
        assert "from components.kfp_context import exit_on_error" in "\n".join(lines)
