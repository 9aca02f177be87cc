"""The graph's first step: everything that can be checked and decided before any work starts."""

# No `from __future__ import annotations`: kfp reads the annotations as objects.

from typing import NamedTuple

from kfp import dsl

from components.kfp_context import IMAGE


# The image that computes: what sources and models hold may be packages that only it has.
@dsl.component(base_image=IMAGE, install_kfp_package=False)
def plan(
    base_model: str,
    eval_data: str,
    job_gpus_per_node: int,
    job_nodes: int,
    mining_enabled: bool,
    model_name: str,
    overrides: dict,
    promotion_min_gain: float,
    promotion_mode: str,
    retraining_force: bool,
    store: str,
    train_data: str,
    training_learning_rate: float,
    training_negatives_cross_device: bool,
    training_num_train_epochs: float,
    training_temperature: float,
    training_train_group_size: int,
    compiled: str,
    plan_page: dsl.Output[dsl.HTML],
) -> NamedTuple(  # type: ignore[valid-type]
    "Plan",
    [
        ("Output", str),
        ("reason", str),
        ("model_name", str),
        ("store", str),
        ("train_data", str),
        ("eval_data", str),
        ("known", str),
        ("data_plan", str),
        ("base_model", str),
        ("start_model", str),
        ("champion", str),
        ("trained_queries", str),
        ("generation_fingerprint", str),
        ("data_fingerprint", str),
        ("pretraining_fingerprint", str),
        ("mining_fingerprint", str),
        ("teachers_fingerprint", str),
        ("training_fingerprint", str),
        ("merging_fingerprint", str),
        ("evaluation_fingerprint", str),
        ("indexing_fingerprint", str),
        ("run_inputs", str),
        ("run_settings", str),
        ("encoder", str),
        ("generation", str),
        ("data", str),
        ("pretraining", str),
        ("mining", str),
        ("teachers", str),
        ("training", str),
        ("merging", str),
        ("evaluation", str),
        ("promotion", str),
        ("indexing", str),
        ("job", str),
    ],
):
    """Check all settings, see that sources and models are there, look up the champion, and decide whether to train.

    Wrong settings end the run here. A run that would train with what the last finished run had is recorded as skipped.

    Args:
        base_model: Model to improve.
        eval_data: Addresses of evaluation data.
        job_gpus_per_node: The setting job.gpus_per_node.
        job_nodes: The setting job.nodes.
        mining_enabled: The setting mining.enabled.
        model_name: Name in the registry.
        overrides: Any other setting, as an object.
        promotion_min_gain: The setting promotion.min_gain.
        promotion_mode: The setting promotion.mode.
        retraining_force: The setting retraining.force.
        store: Root of the registry.
        train_data: Addresses of training data.
        training_learning_rate: The setting training.learning_rate.
        training_negatives_cross_device: The setting training.negatives_cross_device.
        training_num_train_epochs: The setting training.num_train_epochs.
        training_temperature: The setting training.temperature.
        training_train_group_size: The setting training.train_group_size.
        compiled: What was built into the pipeline, as JSON.
        plan_page: What the run does and why.

    Returns:
        train or skip, and the reason; names and addresses, the sources' empty in a skipped run; what the prepared data
        are compared with; the models, the champion's empty while there is none; fingerprints of what each step reads
        and of its code, which make caching right; what the run's record and the list of runs hold; every group of
        settings that a step needs, as JSON.
    """
    inputs = {name: value for name, value in locals().items() if name not in ("compiled", "plan_page")}
    from components.kfp_context import exit_on_error, write_page
    from pipeline.run_plan import make_plan

    with exit_on_error("plan", first_contact=True):
        outputs, page = make_plan(inputs, compiled)
        write_page(plan_page, page)
    return outputs  # type: ignore[return-value]
