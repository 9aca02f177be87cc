"""`sharpen explain`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from pipeline.models.options import Root


def explain(
    run: Annotated[
        str,
        typer.Argument(
            help="Id of a run (`sharpen runs list`) or its beginning; name of a model, for its latest run; or "
            "address of an evaluation. Not given: the latest run."
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    root: Root = "",
) -> None:
    """Say why a model is no better: likely causes with figures, and for each the setting to change."""
    from pipeline.explanation.find_run import find_run
    from pipeline.explanation.show import show_explanation
    from pipeline.local.run import opened_store
    from sharpen.diagnosis.explain import explain_evaluation
    from sharpen.registry import decisions
    from sharpen.store import storage

    with opened_store(root, write=False) as address:
        if run and storage.is_complete(run):
            evaluation, decided = run, {}
        else:
            record = find_run(run, decisions.records(address))
            evaluation = record.evaluation
            decided = {
                "run": record.run_id,
                "model": record.model,
                "verdict": record.verdict,
                "reasons": record.reasons,
            }
        explained = explain_evaluation(evaluation)
    if as_json:
        typer.echo(
            json.dumps({**decided, "evaluation": evaluation, **explained.as_json()}, ensure_ascii=False, indent=2)
        )
        return
    reasons = [f"  - {reason}" for reason in decided.get("reasons", [])]
    show_explanation(explained, [f"{decided['run']}: {decided['verdict']}", *reasons] if decided else [])
