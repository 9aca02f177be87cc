"""Findings for people: a table on a terminal, plain lines elsewhere; and for machines: JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.doctor.finding import Finding

_COLOURS = {"pass": "green", "fail": "bold red", "warn": "yellow", "not checked": "dim"}
_MEND = "mend"


def show(findings: Iterable[Finding], console: Console) -> list[Finding]:
    """Print the findings; the same as a list."""
    if not console.is_terminal:
        told = []
        for finding in findings:
            print("\n".join(lines(finding)), file=console.file, flush=True)
            told.append(finding)
        print(summary(told), file=console.file, flush=True)
        return told
    with console.status("asking the cluster"):
        told = list(findings)
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for column in ("", "check", "found"):
        table.add_column(column, overflow="fold")
    for finding in told:
        table.add_row(Text(finding.state, style=_COLOURS[finding.state]), Text(finding.check), Text(finding.found))
    console.print(table)
    for finding in told:
        if finding.mend:
            console.print(Text(f"\n{finding.check}: {finding.state}", style=_COLOURS[finding.state]))
            # in one piece, so that it can be copied
            console.print(Text(f"  {finding.mend}"), soft_wrap=True)
    console.print(Text(f"\n{summary(told)}", style="bold"))
    return told


def lines(finding: Finding) -> list[str]:
    """A finding as plain lines."""
    found = [f"{finding.state:<12} {finding.check:<24} {finding.found}"]
    return [*found, f"{'':<12} {_MEND:<24} {finding.mend}"] if finding.mend else found


def summary(findings: list[Finding]) -> str:
    """How many of each, and what it means."""
    count = Counter(finding.state for finding in findings)
    counts = ", ".join(f"{count[state]} {word}" for state, word in _WORDS.items() if count[state])
    return f"{'not ready' if count['fail'] else 'ready'}: {counts}"


_WORDS = {"fail": "failed", "warn": "warned of", "not checked": "not checked", "pass": "passed"}


def as_json(findings: list[Finding]) -> str:
    """All findings as a JSON object; `ready` is false when one failed."""
    ready = not any(finding.state == "fail" for finding in findings)
    return json.dumps({"ready": ready, "findings": [asdict(f) for f in findings]}, indent=2, ensure_ascii=False)
