"""`sharpen models ...` in this process."""

from __future__ import annotations

import contextlib
import io
from typing import NamedTuple

from components.command_line import run as run_with_exit_code
from pipeline.cli import app


class Done(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


def sharpen_models(*arguments: str) -> Done:
    """Run `sharpen models` with these arguments."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run_with_exit_code(lambda: app(["models", *arguments], standalone_mode=False), "sharpen")
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Done(code, out.getvalue(), err.getvalue())
