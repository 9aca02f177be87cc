"""The locked requirements of the images, read."""

from __future__ import annotations

import re

from packaging.utils import canonicalize_name

from tests.images.engine import ROOT

REQUIREMENTS = ROOT / "images" / "requirements"


def locked(name: str) -> dict[str, str]:
    """Package -> version of one list."""
    text = (REQUIREMENTS / name).read_text(encoding="utf-8")
    return {
        # torch==2.13.0+cpu is a wheel of version 2.13.0
        str(canonicalize_name(package)): version.partition("+")[0]
        for package, version in re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", text, re.MULTILINE)
    }


def hashes(name: str) -> dict[str, list[str]]:
    """Package -> hashes of one list."""
    text = (REQUIREMENTS / name).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {
        str(canonicalize_name(line.partition("==")[0])): re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line)
        for line in lines
    }
