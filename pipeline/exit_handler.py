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
    summary: dsl.Output[dsl.HTML],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Say how the run ended, and delete its training jobs that go on and what earlier runs left in the store.

    Args:
        model_name: Name of the model in the registry.
        store: Root of the registry.
        overrides: Settings of the run, which say in which namespace its jobs are, and when leftovers are deleted.
        compiled: What was built into the pipeline, as JSON.
        status: State of the run, given by the pipeline.
        summary: What the run came to, and what to do next; of a failure the step and its cause.
        report: The tuned model beside the base model and the champion, query by query.
    """
    from components.kfp_context import exit_on_error
    from pipeline.run_end import end_run

    with exit_on_error("finish"):
        end_run(model_name, store, overrides, compiled, status, summary, report)
