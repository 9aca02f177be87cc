"""What is printed, character by character."""

from __future__ import annotations

import io
import json

from rich.console import Console

from pipeline.doctor.finding import Finding
from pipeline.doctor.table import as_json, lines, show

FINDINGS = [
    Finding("API server", "pass", "Kubernetes v1.35.0"),
    Finding("namespace", "fail", "team does not exist", "kubectl create namespace team"),
    Finding("artifacts", "warn", "[no ConfigMap]", "kubectl apply -k " + "long/" * 30),
    Finding("nodes", "not checked", "you may not list nodes"),
]
PLAIN = f"""\
pass         API server               Kubernetes v1.35.0
fail         namespace                team does not exist
             mend                     kubectl create namespace team
warn         artifacts                [no ConfigMap]
             mend                     kubectl apply -k {"long/" * 30}
not checked  nodes                    you may not list nodes
not ready: 1 failed, 1 warned of, 1 not checked, 1 passed
"""


def test_plain_lines_where_nobody_looks() -> None:
    written = io.StringIO()
    assert show(iter(FINDINGS), Console(file=written, width=60)) == FINDINGS
    assert written.getvalue() == PLAIN


def test_json_for_machines() -> None:
    told = json.loads(as_json(FINDINGS))
    assert told["ready"] is False
    assert told["findings"][1] == {
        "check": "namespace",
        "state": "fail",
        "found": "team does not exist",
        "mend": "kubectl create namespace team",
    }
    assert json.loads(as_json(FINDINGS[:1]))["ready"] is True


def test_a_finding_without_remedy_is_one_line() -> None:
    assert len(lines(FINDINGS[3])) == 1
