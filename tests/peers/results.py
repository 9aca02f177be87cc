"""RESULTS.md: one section per benchmark and size. A re-run replaces its own section; the others stay."""

from __future__ import annotations

import datetime
import re
import shlex
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FILE = Path(__file__).parent / "RESULTS.md"
_HEAD = """# Measured results

Written by the benchmarks of this folder (README.md says what they measure); a re-run replaces its own section.
"""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others numbers."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def spread(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def faster(theirs: Sequence[float], ours: Sequence[float]) -> str:
    """How many times as long they took, of the medians, and the range over the rounds."""
    ratios = [their / own for their, own in zip(theirs, ours, strict=True)]
    return f"{statistics.median(theirs) / statistics.median(ours):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"


def command(module: str) -> str:
    """How this process can be started again."""
    return f"python -m {module} {shlex.join(sys.argv[1:])}".strip()


def write_section(title: str, body: str, *, file: Path = FILE) -> None:
    """Put a section in the place of the one with the same title, or at the end; printed as well."""
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    section = f"## {title}\n\n{body.strip()}\n\nMeasured on {day}.\n"
    text = file.read_text() if file.is_file() else _HEAD
    head, *sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    titles = [one.splitlines()[0] for one in sections]
    if f"## {title}" in titles:
        sections[titles.index(f"## {title}")] = section
    else:
        sections.append(section)
    whole = "\n".join(part.strip() + "\n" for part in [head, *sections])
    with tempfile.NamedTemporaryFile("w", dir=file.parent, suffix=".md", delete=False) as target:
        target.write(whole)
    Path(target.name).chmod(0o644)
    Path(target.name).replace(file)
    print(f"\n{section}\nwritten to {file}", flush=True)
