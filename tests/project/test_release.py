"""The built packages hold everything that the code reads, and tell when something is left out."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.project.release import PACKAGES, expected_files, missing_files
from tests.project.words import ROOT

BUILD = "from setuptools import build_meta; build_meta.build_wheel('dist'); build_meta.build_sdist('dist')"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and source distribution, built in a copy of the tree."""
    copy = tmp_path_factory.mktemp("release") / "tree with a space"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    subprocess.run([sys.executable, "-c", BUILD], cwd=copy, check=True, capture_output=True)
    return copy / "dist"


def test_wheel_and_source_distribution_are_whole(built: Path) -> None:
    assert {"sharpen/py.typed", "sharpen/reports/style.css", "pipeline/demo.yaml"} <= expected_files()
    for pattern in ("*.whl", "*.tar.gz"):
        (package,) = built.glob(pattern)
        assert missing_files(package) == set()


def test_a_file_that_is_left_out_is_named(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(tmp_path / wheel.name, "w") as less:
        for name in whole.namelist():
            if name != "sharpen/py.typed":
                less.writestr(name, whole.read(name))
    assert missing_files(tmp_path / wheel.name) == {"sharpen/py.typed"}


def test_the_wheel_has_no_tests_and_one_command(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as whole:
        names = whole.namelist()
        (entries,) = [name for name in names if name.endswith(".dist-info/entry_points.txt")]
        assert whole.read(entries).decode().split() == ["[console_scripts]", "sharpen", "=", "pipeline.cli:main"]
    tops = {name.partition("/")[0] for name in names}
    assert {name for name in tops if not name.endswith(".dist-info")} == set(PACKAGES)
