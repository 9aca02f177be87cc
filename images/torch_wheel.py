"""Choose the wheel of torch for this machine: PyPI's brings 3 GB of CUDA, which a machine without a GPU has no use for.

Prints pip's arguments, and to stderr what is taken and why. `make demo` and the other environments ask it; run it with
the environment's Python, whose pip's configuration counts. SHARPEN_TORCH=cpu or cuda decides by hand.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

LOCK = Path(__file__).parents[1] / "requirements.lock"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
VARIABLE = "SHARPEN_TORCH"
_GPU_DEVICES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/kfd")


class Choice(NamedTuple):
    """What pip is told, and what a person is."""

    arguments: list[str]
    reason: str


def choose(version: str, *, gpu: bool, offers: Callable[[str, Sequence[str]], bool], wanted: str = "") -> Choice:
    """The wheel to install.

    Args:
        version: of torch.
        gpu: this machine has a GPU, or is one that PyPI's wheel brings no CUDA to.
        offers: says whether pip finds a version with these options.
        wanted: ``cpu`` or ``cuda``: taken whatever the machine has; empty: by the machine.
    """
    if wanted == "cuda" or (gpu and wanted != "cpu"):
        return Choice([f"torch=={version}"], "the wheel that pip takes by default")
    local = f"{version}+cpu"
    for options, source in (([], "pip's own configuration"), (["--extra-index-url", CPU_INDEX], CPU_INDEX)):
        if offers(local, options):
            return Choice([*options, f"torch=={local}"], f"the wheel for processors alone, from {source}")
    return Choice(
        [f"torch=={version}"],
        f"neither pip's configuration nor {CPU_INDEX} has a wheel for processors alone, so pip fetches 3 GB of CUDA",
    )


def pip_offers(version: str, options: Sequence[str]) -> bool:
    """True if pip finds this version of torch for this Python."""
    command = [sys.executable, "-m", "pip", "index", "versions", "--retries", "1", "--timeout", "15", *options, "torch"]
    listed = subprocess.run(command, capture_output=True, text=True)
    versions = re.search(r"^Available versions: (.*)$", listed.stdout, re.MULTILINE)
    return listed.returncode == 0 and versions is not None and version in versions[1].split(", ")


def has_gpu() -> bool:
    """True where a driver of a GPU is loaded, or where PyPI's wheel is one for processors anyway."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return True
    return any(Path(device).exists() for device in _GPU_DEVICES)


def locked_version() -> str:
    """The version of torch that is tested."""
    (version,) = re.findall(r"^torch==(\S+)$", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    return version


def main() -> None:
    """Print the choice."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "cpu", "cuda"):
        sys.exit(f"error: {VARIABLE}={wanted}: write cpu or cuda, or leave it out")
    choice = choose(locked_version(), gpu=has_gpu(), offers=pip_offers, wanted=wanted)
    print(f"  torch {choice.arguments[-1].removeprefix('torch==')}: {choice.reason}", file=sys.stderr)
    print(*choice.arguments)


if __name__ == "__main__":
    main()
