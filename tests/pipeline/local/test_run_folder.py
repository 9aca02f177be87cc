"""The folders of local runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.local import run_folder as module
from pipeline.local.run_folder import run_folder, temporary_folder
from sharpen.errors import InputError


def test_a_run_that_goes_on_is_never_removed_however_many_come_after(tmp_path: Path) -> None:
    with run_folder(tmp_path, "first") as first:
        (first / "log.txt").write_text("what it said")
        for number in range(module.KEPT + 5):
            with run_folder(tmp_path, f"later-{number:02}"):
                pass
        assert (first / "log.txt").read_text() == "what it said"
        assert not (tmp_path / "later-00").exists()
    assert len(list(tmp_path.iterdir())) == module.KEPT + 1
    with run_folder(tmp_path, "last"):
        assert len(list(tmp_path.iterdir())) == module.KEPT
        assert not first.exists(), "once it has ended it is the oldest"


def test_only_the_owner_can_look_into_it(tmp_path: Path) -> None:
    with run_folder(tmp_path, "a") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700


def test_the_temporary_folder_goes_with_the_run_and_that_of_a_killed_run_with_the_next(tmp_path: Path) -> None:
    with run_folder(tmp_path, "a") as folder:
        temporary = temporary_folder(folder)
        (temporary / "step").mkdir()
    assert not temporary.exists()

    program = (
        "import os, sys; from pathlib import Path; from pipeline.local.run_folder import run_folder, temporary_folder\n"
        "with run_folder(Path(sys.argv[1]), 'killed') as folder:\n"
        "    print(temporary_folder(folder), flush=True); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    left = Path(killed.stdout.strip())
    assert left.is_dir()
    with run_folder(tmp_path, "b"):
        assert not left.exists()


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not a usable path") as caught, run_folder(tmp_path / "file" / "runs", "a"):
        pass
    assert "\n" not in str(caught.value)
