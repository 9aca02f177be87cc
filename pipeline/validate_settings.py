"""The graph's first task: the inputs of the run form, checked as a whole before any work starts.

Steps receive only their own group of settings, so changing one group leaves the cached results of the others valid.
"""

# No `from __future__ import annotations`: kfp reads the annotations as objects.

from typing import NamedTuple

from kfp import dsl

from components.kfp_context import LAUNCHER_IMAGE


@dsl.component(base_image=LAUNCHER_IMAGE, install_kfp_package=False)
def check_settings(
    train_data: str,
    eval_data: str,
    base_model: str,
    model_name: str,
    store: str,
    overrides: str,
    compiled_rounds: int,
    compiled_pods: str = "",
) -> NamedTuple(  # type: ignore[valid-type]
    "Checked",
    [
        ("encoder", str),
        ("data", str),
        ("mining", str),
        ("training", str),
        ("evaluation", str),
        ("promotion", str),
        ("indexing", str),
        ("job", str),
        ("mined_with", str),
        ("with_index", str),
        ("start_from", str),
        ("min_new_examples", int),
        ("settings_hash", str),
    ],
):
    """Check every setting; an unknown name or a value out of bounds ends the run here.

    Args:
        train_data: Addresses of training data.
        eval_data: Addresses of evaluation data.
        base_model: Model to improve.
        model_name: Name in the registry.
        store: Root of the registry.
        overrides: Any other setting, as a JSON object.
        compiled_rounds: Rounds of mining and fine-tuning that the pipeline was compiled with.
        compiled_pods: Settings that were built into the pods, as JSON; empty on one machine.

    Returns:
        Every group of settings that a step needs as JSON, as JSON the addresses of models and files that mining reads,
        yes or no: whether the promoted model's index is wanted, the model to start from, the fewest new examples that
        are worth a run, and a hash of the settings that a result depends on.
    """
    import json

    from components.kfp_context import exit_on_error
    from pipeline.parameters import STEP_GROUPS, TOP_LEVEL, resolve
    from sharpen.jobs import check_job

    with exit_on_error("check_settings"):
        values = dict(zip(TOP_LEVEL, (train_data, eval_data, base_model, model_name, store), strict=True))
        settings = resolve(values, overrides)
        settings.check_compiled(compiled_rounds, compiled_pods)
        if compiled_pods:
            settings.check_on_cluster()
        check_job(settings.job)
    groups = (settings.group_json(group, on_cluster=bool(compiled_pods)) for group in STEP_GROUPS)
    mined_with, with_index = json.dumps(settings.mining.addresses), "yes" if settings.indexing.enabled else "no"
    again = settings.retraining
    rest = (mined_with, with_index, again.start_from, again.min_new_examples, settings.results_hash(compiled_rounds))
    return (*groups, *rest)  # type: ignore[return-value]
