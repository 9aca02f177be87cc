"""What kfp.local 2.17 does otherwise than a run on this machine needs, put right in its place."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sharpen.errors import NoSpace
from sharpen.processes.parent_death import dies_with_parent

_PROGRAM = "_KFP_RUNTIME=true python3"
# less is not enough for a step to start and to say how it ended
LEAST_FREE_BYTES = 2**20
NOT_REUSED = "not taken from the cache: "


@contextlib.contextmanager
def arguments_left_alone() -> Iterator[None]:
    """Start a step's interpreter rightly, and keep kfp.local from changing values of parameters.

    Version 2.17 puts the interpreter's path, unquoted, in place of every "python3" of a step's command line, values
    included, so that a model at /data/python3/model is looked for elsewhere. Here it does so in the program only. The
    interpreter takes the shell's place, ends with this process, and does not look for modules in the working folder,
    where the user may have a folder `components`.
    """
    from kfp.local import subprocess_task_handler as handler

    original = handler.replace_python_executable

    def in_program_only(full_command: list[str], new_executable: str) -> list[str]:
        _check_space(Path(os.environ.get("TMPDIR", tempfile.gettempdir())))
        _check_space(Path.cwd())
        program = next((i for i, part in enumerate(full_command) if "ephemeral_component.py" in part), -1) + 1
        # quoted, since the program is a shell's and the environment's folder may have a space in its name
        started = shlex.join(dies_with_parent([new_executable, "-P"]))
        scripts = [
            part.replace(_PROGRAM, f"export _KFP_RUNTIME=true; exec {started}") for part in full_command[:program]
        ]
        return original(scripts, shlex.quote(new_executable)) + full_command[program:]

    handler.replace_python_executable = in_program_only
    try:
        yield
    finally:
        handler.replace_python_executable = original


def _check_space(folder: Path) -> None:
    """A step that cannot be started for want of space tells nothing but its own source."""
    if shutil.disk_usage(folder).free < LEAST_FREE_BYTES:
        raise NoSpace(f"{folder}: no space left on the disk; free some space")


@contextlib.contextmanager
def reusing(fault: Callable[[dict[str, Any]], str] | None) -> Iterator[None]:
    """Take a step's outputs from kfp.local's cache only where nothing is wrong with them; new ones go there.

    Args:
        fault: what is wrong with the outputs of a step; empty: nothing. None: take none.
    """
    from kfp.local.cache import LocalCache

    original = LocalCache.get

    def get(self: LocalCache, key: str) -> dict[str, Any] | None:
        outputs = original(self, key) if fault else None
        if fault and outputs is not None and (wrong := fault(outputs)):
            logging.info("%s%s", NOT_REUSED, wrong)
            return None
        return outputs

    LocalCache.get = get
    try:
        yield
    finally:
        LocalCache.get = original
