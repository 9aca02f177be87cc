"""What is printed, character by character."""

from __future__ import annotations

import io
import json
import re

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


TABLE = f"""\
               check         found
pass           API server    Kubernetes v1.35.0
fail           namespace     team does not exist
warn           artifacts     [no ConfigMap]
not checked    nodes         you may not list nodes

namespace: fail
  kubectl create namespace team

artifacts: warn
  kubectl apply -k {"long/" * 30}

not ready: 1 failed, 1 warned of, 1 not checked, 1 passed
"""


def test_a_table_on_a_terminal_whose_commands_stay_in_one_piece() -> None:
    written = io.StringIO()
    terminal = Console(file=written, width=60, force_terminal=True, color_system=None)
    assert show(iter(FINDINGS), terminal) == FINDINGS
    # what the spinner draws and takes away again
    screen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", written.getvalue())
    table = screen[screen.index("               check") :]
    assert "\n".join(line.rstrip() for line in table.splitlines()) + "\n" == TABLE


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
