"""Findings as lines for people, with colours on a terminal, and as JSON for machines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from pipeline.doctor.finding import Finding

_STYLES = {"pass": "green", "fail": "bold red", "warn": "yellow", "not checked": "dim"}
_COUNTED = {"fail": "failed", "warn": "warned of", "not checked": "not checked", "pass": "passed"}


def show(findings: Iterable[Finding], console: Console) -> list[Finding]:
    """Print each finding as it comes, then the summary; the findings as a list."""
    shown = []
    for finding in findings:
        shown.append(finding)
        line = Text.assemble((f"{finding.state:<12}", _STYLES[finding.state]), f" {finding.check:<24} {finding.detail}")
        # never wrapped, so that a command can be copied
        console.print(line, soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"{'':<12} {'remedy':<24} {finding.remedy}"), soft_wrap=True)
    console.print(Text(summary(shown), "bold"), soft_wrap=True)
    return shown


def summary(findings: list[Finding]) -> str:
    """How many of each state, and whether the cluster is ready."""
    count = Counter(finding.state for finding in findings)
    counts = ", ".join(f"{count[state]} {word}" for state, word in _COUNTED.items() if count[state])
    return f"{'not ready' if count['fail'] else 'ready'}: {counts}"


def as_json(findings: list[Finding]) -> str:
    """All findings as a JSON object; `ready` is false when one failed."""
    ready = not any(finding.state == "fail" for finding in findings)
    return json.dumps({"ready": ready, "findings": [asdict(f) for f in findings]}, indent=2, ensure_ascii=False)
