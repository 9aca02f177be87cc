"""How kfp.local starts a step here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kfp.local import subprocess_task_handler as handler

from pipeline.local import kfp_local
from pipeline.local.kfp_local import arguments_left_alone
from sharpen.errors import NoSpace


def command(code: str, *arguments: str) -> list[str]:
    """A step's command as kfp compiles it, with another program in the executor's place."""
    from pipeline.exit_handler import finish

    made = list(finish.component_spec.implementation.container.command)
    assert "_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main" in made[2]
    return [*made[:2], made[2].replace("-m kfp.dsl.executor_main", f'-c "{code}"'), *made[3:], *arguments]


def test_the_interpreter_takes_the_shells_place_and_looks_for_nothing_in_the_working_folder(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['_KFP_RUNTIME'], sys.flags.safe_path, os.getppid(), sys.argv[-1])"
    with arguments_left_alone():
        started = handler.replace_python_executable(command(code, "/data/python3/model"), sys.executable)
    shown = subprocess.run(started, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["true", "True", str(os.getpid()), "/data/python3/model"]


def test_a_step_is_not_started_on_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kfp_local, "LEAST_FREE_BYTES", 2**80)
    with arguments_left_alone(), pytest.raises(NoSpace, match="no space left on the disk; free some space"):
        handler.replace_python_executable(command("pass"), sys.executable)
