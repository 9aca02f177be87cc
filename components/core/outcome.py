"""How a child process tells its parent why it failed.

torchrun and kfp.local report a failed child as exit code 1 with a traceback of their own. The parent names a file in
`SHARPEN_OUTCOME`; the child that fails first writes the exit code and the lines for the user there.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

VARIABLE = "SHARPEN_OUTCOME"


@dataclass(frozen=True)
class Outcome:
    """Why a step ended: its name, the exit code that it wants, and one line per fault."""

    step: str
    exit_code: int
    lines: list[str]


def tell(step: str, exit_code: int, lines: Sequence[str]) -> None:
    """Say why this process fails: to the parent's file if there is one and nobody was first, else on stderr."""
    target = os.environ.get(VARIABLE)
    if not target:
        for line in lines:
            print(f"error: {line}", file=sys.stderr, flush=True)
        return
    temporary = Path(f"{target}.{os.getpid()}")
    temporary.write_text(json.dumps(asdict(Outcome(step, exit_code, list(lines)))), encoding="utf-8")
    try:
        os.link(temporary, target)  # one winner, and never a half-written file
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def read(path: Path) -> Outcome | None:
    """What a child told, or None if no child told anything."""
    if not path.is_file():
        return None
    return Outcome(**json.loads(path.read_text(encoding="utf-8")))
