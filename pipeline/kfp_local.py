"""A fault of kfp.local 2.17, worked round."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator


@contextlib.contextmanager
def arguments_left_alone() -> Iterator[None]:
    """Keep kfp.local from changing values of parameters.

    Version 2.17 puts the interpreter's path, unquoted, in place of every "python3" of a step's command line, values
    included, so that a model at /data/python3/model is looked for elsewhere. Here it does so in the program only.
    """
    from kfp.local import subprocess_task_handler as handler

    original = handler.replace_python_executable

    def in_program_only(full_command: list[str], new_executable: str) -> list[str]:
        program = next((i for i, part in enumerate(full_command) if "ephemeral_component.py" in part), -1) + 1
        # quoted, since the program is a shell's and the environment's folder may have a space in its name
        return original(full_command[:program], shlex.quote(new_executable)) + full_command[program:]

    handler.replace_python_executable = in_program_only
    try:
        yield
    finally:
        handler.replace_python_executable = original
