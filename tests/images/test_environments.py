"""How the environments of `make demo` and `make test` are set up: what uv and pip are given."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.images.engine import ROOT

Recipe = Callable[..., tuple[str, list[str]]]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Makes an environment with programs in pip's, uv's and the chooser's stead: what is printed, and their calls."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    for name in ("pyproject.toml", "requirements.lock", "images/requirements/demo.txt", "images/torch_wheel.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)

    def made(configuration: str = "", uv: int = 0) -> tuple[str, list[str]]:
        (programs / "python").write_text(
            '#!/bin/bash\necho "$@" >> calls\n'
            "[[ $1 != images/* ]] || echo --extra-index-url https://here torch==9+cpu\n"
            f'[[ "$*" != "-m pip config list" ]] || echo "{configuration}"\n'
        )
        (programs / "uv").write_text(f'#!/bin/bash\necho "uv $@" >> calls\nexit {uv}\n')
        for program in programs.iterdir():
            program.chmod(0o755)
        command = ["make", ".venv/demo.done", f"PYTHON={sys.executable}"]
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout, (tmp_path / "calls").read_text().splitlines()

    return made


def test_the_environments_take_what_was_chosen(recipe: Recipe) -> None:
    _, calls = recipe()
    place = calls.index("images/torch_wheel.py")
    assert calls[place + 1].endswith("--constraint requirements.lock --extra-index-url https://here torch==9+cpu")


def test_uv_installs_the_list_and_pip_what_is_missing(recipe: Recipe) -> None:
    printed, calls = recipe("global.extra-index-url='https://more'")
    (uv,) = (call for call in calls if call.startswith("uv "))
    wanted = "--no-deps --require-hashes --requirement images/requirements/demo.txt"
    assert uv.endswith(wanted)
    assert calls[calls.index(uv) + 1].endswith(wanted)
    assert "uv could not" not in printed


def test_pip_does_all_where_uv_cannot_or_pip_is_told_of_an_index(recipe: Recipe, tmp_path: Path) -> None:
    printed, calls = recipe(uv=2)
    assert "uv could not install all of it (why: .venv/uv.log), so pip does" in printed
    assert calls[-4].endswith("--requirement images/requirements/demo.txt")
    for option in ("global.index-url='https://mirror'", ":env:.no-index='1'"):
        (tmp_path / "calls").unlink()
        (tmp_path / ".venv/demo.done").unlink()
        assert not any(call.startswith("uv ") for call in recipe(option)[1])
