"""What is printed, character by character."""

from __future__ import annotations

import io
import json
import re

from rich.console import Console

from pipeline.doctor.finding import Finding
from pipeline.doctor.report import as_json, show

FINDINGS = [
    Finding("API server", "pass", "Kubernetes v1.35.0"),
    Finding("namespace", "fail", "team does not exist", "kubectl create namespace team"),
    Finding("artifacts", "warn", "[no ConfigMap]", "kubectl apply -k " + "long/" * 30),
    Finding("nodes", "not checked", "you may not list nodes"),
]
PLAIN = f"""\
pass         API server               Kubernetes v1.35.0
fail         namespace                team does not exist
             remedy                   kubectl create namespace team
warn         artifacts                [no ConfigMap]
             remedy                   kubectl apply -k {"long/" * 30}
not checked  nodes                    you may not list nodes
not ready: 1 failed, 1 warned of, 1 not checked, 1 passed
"""


def test_plain_lines_where_nobody_looks() -> None:
    written = io.StringIO()
    assert show(iter(FINDINGS), Console(file=written, width=60)) == FINDINGS
    assert written.getvalue() == PLAIN


def test_colours_on_a_terminal_and_commands_stay_in_one_piece() -> None:
    written = io.StringIO()
    terminal = Console(file=written, width=60, force_terminal=True, color_system="standard")
    assert show(iter(FINDINGS), terminal) == FINDINGS
    assert "\x1b[1;31mfail" in written.getvalue()
    assert re.sub(r"\x1b\[[0-9;]*m", "", written.getvalue()) == PLAIN


def test_json_for_machines() -> None:
    report = json.loads(as_json(FINDINGS))
    assert report["ready"] is False
    assert report["findings"][1] == {
        "check": "namespace",
        "state": "fail",
        "detail": "team does not exist",
        "remedy": "kubectl create namespace team",
    }
    assert json.loads(as_json(FINDINGS[:1]))["ready"] is True
