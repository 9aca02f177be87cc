"""What runs in which order: the pipeline, and nothing else.

One definition for the laptop and the cluster. Bulk data travels as addresses (parameters of type str), because an input
artifact would be copied whole through every pod.

A run that would train with what the last finished run had is skipped: after data_prep, which the cache knows where
the input is the same, only that is recorded.

Rounds of mining and fine-tuning are unrolled when the pipeline is made: the first mines with the model that training
starts from, each later one with the model of the round before. Every round fine-tunes that first model anew, as DPR's
successors do (coCondenser, Gao and Callan 2022, arXiv 2108.05540): the model is then the work of one training with one
set of negatives and the same number of steps whatever the rounds, where going on from round to round (ANCE, Xiong et
al. 2021, arXiv 2007.00808) would train for longer with every round and keep what worse negatives taught.
"""

# A call of a component makes a task, which its Python signature does not say.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportReturnType=false

# No `from __future__ import annotations`: kfp reads the annotations as objects.

import inspect
import json
from collections.abc import Callable
from functools import partial

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent
from kfp.dsl.pipeline_channel import PipelineChannel
from kfp.dsl.pipeline_task import PipelineTask

from components.data_prep.component import data_prep, detect_changes, fingerprint
from components.evaluation.component import evaluation
from components.finetuning.component import finetuning
from components.hard_negatives.component import hard_negatives
from components.indexing.component import indexing
from components.promotion.component import current_champion, gate, promotion, remember
from pipeline.exit_handler import finish
from pipeline.parameters import TOP_LEVEL, Settings
from pipeline.pods import cache_all, configure_pods
from pipeline.validate_settings import check_settings

PIPELINE_NAME = "sharpen"


def make_pipeline(rounds: int = 1, cluster: Settings | None = None) -> GraphComponent:
    """The pipeline with so many rounds of mining and fine-tuning.

    Args:
        rounds: of mining and fine-tuning.
        cluster: settings that are built in for pods of a cluster; None: for this machine.
    """

    def graph(
        train_data: str, eval_data: str, base_model: str, model_name: str, store: str, overrides: str = "{}"
    ) -> None:
        at_the_end = finish(model_name=model_name, store=store, overrides=overrides).set_display_name("finish")
        inputs = {"train_data": train_data, "eval_data": eval_data, "base_model": base_model}
        registry = {"model_name": model_name, "store": store}
        built = json.dumps(cluster.compiled_pod_settings(), sort_keys=True) if cluster else ""
        compiled = {"compiled_rounds": rounds, "compiled_pods": built}
        with dsl.ExitHandler(at_the_end, name="run"):
            _steps(inputs, registry, overrides, compiled)
        cache_all()
        if cluster:
            configure_pods(cluster)

    return dsl.pipeline(name=PIPELINE_NAME)(_with_inputs_from_settings(graph))


def _steps(inputs: dict[str, str], registry: dict[str, str], overrides: str, compiled: dict[str, int | str]) -> None:
    checked = check_settings(overrides=overrides, **compiled, **registry, **inputs)
    champion = current_champion(
        base_model=inputs["base_model"], start_from=checked.outputs["start_from"], **registry
    ).set_display_name("current champion")
    content = fingerprint(
        mined_with=checked.outputs["mined_with"],
        start_model=champion.outputs["start_model"],
        settings_hash=checked.outputs["settings_hash"],
        **inputs,
    ).set_display_name("fingerprint")
    data = data_prep(
        train_data=inputs["train_data"],
        eval_data=inputs["eval_data"],
        settings=checked.outputs["data"],
        fingerprint=content.outputs["fingerprint"],
    )
    seen = detect_changes(
        data=data.outputs["Output"],
        identity=content.outputs["identity"],
        last_run=champion.outputs["last_run"],
        min_new_examples=checked.outputs["min_new_examples"],
    ).set_display_name("detect changes")
    # kfp.local 2.17 finds an output that a condition looks at only under the name Output. Two conditions, not if and
    # else: Kubeflow would put those a level deeper, and each level starts a pod of its own.
    with dsl.If(seen.outputs["Output"] == "train", name="train"):
        shared = {"encoder": checked.outputs["encoder"], "fingerprint": content.outputs["fingerprint"]}
        rounds = int(compiled["compiled_rounds"])
        _train(rounds, inputs["base_model"], registry, overrides, checked, champion, data, seen, shared)
    with dsl.If(seen.outputs["Output"] == "skip", name="skip"):
        _remember(seen=seen.outputs["seen"], verdict="skip", reason=seen.outputs["reason"], **registry)


def _train(
    rounds: int,
    base_model: str,
    registry: dict[str, str],
    overrides: str,
    checked: PipelineTask,
    champion: PipelineTask,
    data: PipelineTask,
    seen: PipelineTask,
    shared: dict[str, PipelineChannel],
) -> None:
    measured = {"data": data.outputs["Output"], "split": "test", "settings": checked.outputs["evaluation"], **shared}

    def measure(name: str, title: str, **models: PipelineChannel | str) -> PipelineTask:
        given = {"base": "", "champion": "", "negatives": "", **measured, **models}
        return evaluation(name=f"evaluation-{name}", **given).set_display_name(title)

    base = measure("base", "evaluate base model", model=base_model, settings_of="better")
    champion_eval = measure("champion", "evaluate champion", model=champion.outputs["champion"])
    negatives, tuned = _rounds(rounds, champion.outputs["start_model"], data, checked, shared)

    def compare(name: str, title: str, with_champion: PipelineTask) -> PipelineTask:
        """The tuned model's evaluation beside the base model's and a champion's.

        What a champion has seen in training is no test of it, nor of a candidate that starts from it. The others are
        measured with all queries, so that what was measured before is not repeated; the comparison leaves them out.
        """
        return measure(
            name,
            title,
            model=tuned.outputs["Output"],
            base=base.outputs["Output"],
            champion=with_champion.outputs["Output"],
            negatives=negatives.outputs["Output"],
            without=champion.outputs["trained_queries"],
        )

    result = compare("tuned", "evaluate tuned model", champion_eval)
    promotion_settings = checked.outputs["promotion"]
    verdict = gate(evaluation=result.outputs["Output"], settings=promotion_settings, run_settings=overrides, **registry)
    ended = {"seen": seen.outputs["seen"], **registry}
    index = {"data": data.outputs["Output"], "settings": checked.outputs["indexing"], **shared}
    model = {"model": tuned.outputs["Output"], "settings": promotion_settings, **registry}
    promote = partial(_promote, index, ended, with_index=checked.outputs["with_index"], **model)
    with dsl.If(verdict.outputs["Output"] == "promote", name="promote"):
        first = promote(result, "promotion", again=True)
        # Another run made its model the champion while this one trained: this model must beat that one.
        with dsl.If(first.outputs["Output"] == "compare again", name="compare again"):
            new = measure("champion-2", "evaluate new champion", model=first.outputs["champion"])
            second = promote(compare("tuned-2", "compare with new champion", new), "promotion, second try", again=False)
            with dsl.If(second.outputs["Output"] == "not promoted", name="not promoted"):
                _remember(verdict=second.outputs["verdict"], reason=second.outputs["reason"], **ended)
    with dsl.If(verdict.outputs["Output"] == "reject", name="reject"):
        _remember(verdict="reject", reason=verdict.outputs["reason"], **ended)


def _promote(
    index: dict[str, PipelineChannel],
    ended: dict[str, PipelineChannel],
    result: PipelineTask,
    title: str,
    **inputs: PipelineChannel | bool,
) -> PipelineTask:
    """Promote the model of an evaluation. The record comes last: a run that failed before is not taken for done."""
    promoted = promotion(evaluation=result.outputs["Output"], **inputs).set_display_name(title)
    facts = {"version": promoted.outputs["version"], "reason": promoted.outputs["reason"], **ended}
    with dsl.If(promoted.outputs["Output"] == "index", name="index"):
        made = indexing(model=promoted.outputs["version"], **index)
        _remember(verdict="promote", **facts).after(made)
    with dsl.If(promoted.outputs["Output"] == "promoted", name="promoted"):
        _remember(verdict="promote", **facts)
    return promoted


def _remember(**inputs: PipelineChannel | str) -> PipelineTask:
    return remember(**inputs).set_display_name("remember")


def _rounds(
    rounds: int, start: PipelineChannel, data: PipelineTask, checked: PipelineTask, shared: dict[str, PipelineChannel]
) -> tuple[PipelineTask, PipelineTask]:
    """Mining and fine-tuning, each as often as there are rounds; the tasks of the last round.

    The first round is named as in a pipeline of one, so that one more round takes the others from the cache.
    """

    def one(number: int, miner: PipelineChannel) -> tuple[PipelineTask, PipelineTask]:
        suffix = f"-{number}" if number > 1 else ""
        negatives = hard_negatives(
            data=data.outputs["Output"],
            model=miner,
            settings=checked.outputs["mining"],
            name=f"hard_negatives{suffix}",
            **shared,
        )
        tuned = finetuning(
            data=data.outputs["Output"],
            negatives=negatives.outputs["Output"],
            base_model=start,
            settings=checked.outputs["training"],
            job=checked.outputs["job"],
            name=f"finetuning{suffix}",
            **shared,
        )
        if rounds > 1:
            negatives.set_display_name(f"hard negatives, round {number} of {rounds}")
            tuned.set_display_name(f"fine-tuning, round {number} of {rounds}")
        return negatives, tuned

    negatives, tuned = one(1, start)
    for number in range(2, rounds + 1):
        negatives, tuned = one(number, tuned.outputs["Output"])
    return negatives, tuned


def _with_inputs_from_settings(graph: Callable[..., None]) -> Callable[..., None]:
    """Give the pipeline function the defaults and the help of the settings; the UI's run form shows both."""
    fields = {name: Settings.model_fields[name] for name in TOP_LEVEL}
    signature = inspect.signature(graph)
    parameters = [
        parameter.replace(default=fields[name].default) if name in fields else parameter
        for name, parameter in signature.parameters.items()
    ]
    graph.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    helps = [f"    {name}: {field.description}" for name, field in fields.items()]
    helps.append('    overrides: Any other setting as a JSON object, for example {"training.temperature": 0.05}.')
    summary = "Fine-tune a text-embedding model for retrieval on your own data, measure it, promote it if it is better."
    graph.__doc__ = summary + "\n\nArgs:\n" + "\n".join(helps) + "\n"
    return graph
