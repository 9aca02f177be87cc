"""How a run ended, and what it leaves: the inner part of the graph's last step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.run_form import settings_at_the_end
from pipeline.run_plan import store_of
from sharpen.jobs.cleanup import delete_unfinished_jobs
from sharpen.registry.last_run import describe_run
from sharpen.registry.pages import end_page
from sharpen.run_context import run_id
from sharpen.store.leftovers import sweep
from sharpen.terminal import printable


def end_run(
    model_name: str, store: str, overrides: Mapping[str, Any], compiled: str, status: Any, summary: Any
) -> None:
    """Delete the jobs of this run that go on, say how it ended, and delete what earlier runs left long ago.

    Args:
        model_name, store, overrides: inputs of the run.
        compiled: `run_form.compiled_json`.
        status: as Kubeflow gives it.
        summary: artifact for the page.
    """
    settings, root = settings_at_the_end(overrides), store_of(store)
    name = model_name or json.loads(compiled)["defaults"]["model_name"]
    deleted = delete_unfinished_jobs(settings.job.namespace)
    end = describe_run(root, name, run_id()) or status.state.lower()
    page = end_page(name, end, status.pipeline_job_resource_name, status.error_message or "", deleted)
    Path(summary.path).write_text(page, encoding="utf-8")
    print(printable(f"{name}: {end}"))
    # KFP puts the outputs of a run below <root>/<pipeline>/<run>
    runs, inside, _ = summary.uri.partition(f"/{run_id()}/")
    roots = [folder for folder in (root, runs if inside else "") if folder]
    sweep(roots, settings.retraining.delete_leftovers_days, without=run_id())
