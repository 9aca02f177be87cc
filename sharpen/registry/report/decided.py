"""The report of an evaluation with what the gate said about it."""

from __future__ import annotations

import json
from collections.abc import Callable

from sharpen.registry.decisions import decision_record
from sharpen.registry.gate import Decision
from sharpen.registry.versions import checked_name
from sharpen.reports.gate_section import with_gate
from sharpen.store import storage


def write_decided_report(
    root: str,
    name: str,
    run: str,
    evaluation: str,
    decision: Decision,
    complete: Callable[[str], str] = lambda page: page,
) -> str:
    """Write the evaluation's report with the gate's decision beside the run's outcome; the evaluation stays as it is.

    Args:
        root, name: of the registry and of the model.
        run: the run's id.
        evaluation: address of the evaluation that was decided about.
        decision: the gate's.
        complete: puts into the page what the registry does not know.

    Returns:
        its address; that of the evaluation's own report where there is none to read.
    """
    source = storage.join(evaluation, "report.html")
    if not storage.exists(source):
        return source
    page = with_gate(storage.read_bytes(source).decode("utf-8"), json.loads(decision_record(decision, evaluation)))
    address = storage.join(root, "models", checked_name(name), "outcomes", f"{run}.html")
    storage.write_bytes(address, complete(page).encode())
    return address
