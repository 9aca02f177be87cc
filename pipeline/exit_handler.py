"""The exit task: runs when the run succeeded, failed or was terminated; says which, and ends what the run left."""

# No `from __future__ import annotations`: kfp reads the annotations as objects.

from kfp import dsl

from components.kfp_context import LAUNCHER_IMAGE


@dsl.component(base_image=LAUNCHER_IMAGE, install_kfp_package=False)
def finish(
    model_name: str,
    store: str,
    overrides: dict,
    compiled: str,
    status: dsl.PipelineTaskFinalStatus,
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Say how the run ended, and delete its training jobs that go on and what earlier runs left in the store.

    Args:
        model_name: Name of the model in the registry.
        store: Root of the registry.
        overrides: Settings of the run, which say in which namespace its jobs are, and when leftovers are deleted.
        compiled: What was built into the pipeline, as JSON.
        status: State of the run, given by the pipeline.
    """
    from pathlib import Path

    from components.kfp_context import exit_on_error
    from pipeline.run_form import settings_at_the_end
    from pipeline.run_plan import registry_of
    from sharpen.jobs.cleanup import delete_unfinished_jobs
    from sharpen.registry.last_run import describe_run
    from sharpen.registry.pages import end_page
    from sharpen.run_context import run_id
    from sharpen.store.leftovers import sweep
    from sharpen.terminal import printable

    with exit_on_error("finish"):
        settings, (root, name) = settings_at_the_end(overrides), registry_of(store, model_name, compiled)
        reaped = delete_unfinished_jobs(settings.job.namespace)
        end = describe_run(root, name, run_id()) or status.state.lower()
        page = end_page(name, end, status.pipeline_job_resource_name, status.error_message or "", reaped)
        Path(summary.path).write_text(page, encoding="utf-8")
        print(printable(f"{name}: {end}"))
        # KFP puts the outputs of a run below <root>/<pipeline>/<run>
        runs, inside, _ = summary.uri.partition(f"/{run_id()}/")
        roots = [place for place in (root, runs if inside else "") if place]
        sweep(roots, settings.retraining.delete_leftovers_days, without=run_id())
