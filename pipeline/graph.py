"""What runs in which order: the pipeline, and nothing else.

    plan > data_prep > train: evaluation before, hard negatives > fine-tuning > evaluation > promotion > index
                                                                                           > compare again

One definition for the laptop and the cluster. Bulk data travels as addresses (parameters of type str), because an input
artifact would be copied whole through every pod. Artifacts are cards of a few hundred bytes beside the bulk; steps take
them too, so that Kubeflow's lineage knows what a model was made of. On a cluster every step and every condition starts
pods of its own, which takes longer than most steps work; so what belongs together is one step, and conditions are few.

With `pretraining.enabled` a step before mining trains the model on the corpus; mining and fine-tuning start from what
comes out. With `teachers.enabled` a step after mining scores positives and negatives, and fine-tuning learns from that.
Unless `merging.enabled` is false, the last round's model is merged with the base model, and what comes out is
evaluated. As a trial of a search the pipeline ends after fine-tuning.

A run that would train with what the last finished run had is skipped by `plan`; where only the sources are others,
data_prep counts the new examples and decides.

Rounds of mining and fine-tuning are unrolled when the pipeline is made: the first mines with the model that training
starts from, each later one with the model of the round before. Every round fine-tunes that first model anew, as DPR's
successors do (coCondenser, Gao and Callan 2022, arXiv 2108.05540): the model is then the work of one training with one
set of negatives and the same number of steps whatever the rounds, where going on from round to round (ANCE, Xiong et
al. 2021, arXiv 2007.00808) would train for longer with every round and keep what worse negatives taught.
"""

# A call of a component makes a task, which its Python signature does not say.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportReturnType=false

# No `from __future__ import annotations`: kfp reads the annotations as objects.

from collections.abc import Mapping
from functools import partial

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent
from kfp.dsl.pipeline_channel import PipelineChannel
from kfp.dsl.pipeline_task import PipelineTask

from components.data_prep.component import data_prep
from components.evaluation.component import evaluation, evaluation_before
from components.finetuning.component import finetuning
from components.hard_negatives.component import hard_negatives
from components.indexing.component import indexing
from components.merging.component import merging as merging_step
from components.pretraining.component import pretraining as pretraining_step
from components.promotion.component import promotion
from components.query_generation.component import query_generation
from components.teachers.component import teachers as teachers_step
from pipeline.exit_handler import finish
from pipeline.parameters import Settings
from pipeline.plan import plan
from pipeline.pods import cache_all, configure_pods
from pipeline.run_form import add_choices, compiled_json, docstring, signature

PIPELINE_NAME = "sharpen"

Channels = dict[str, PipelineChannel]


def make_pipeline(
    rounds: int = 1,
    cluster: Settings | None = None,
    *,
    pretraining: bool = False,
    generation: bool = False,
    merging: bool = False,
    teachers: bool = False,
    trial: bool = False,
) -> GraphComponent:
    """The pipeline with so many rounds of mining and fine-tuning.

    Args:
        rounds: of mining and fine-tuning.
        cluster: settings that are built in for pods of a cluster, or become defaults of the run form; None: for this
            machine.
        pretraining: whether there is a step of it before mining.
        generation: whether queries are written for documents before data preparation.
        merging: whether the tuned model is merged with the base model before it is evaluated.
        teachers: whether positives and negatives are scored by teachers before fine-tuning.
        trial: whether it ends after fine-tuning, as a trial of a search: nothing looks at test, nothing is promoted.
    """
    form = signature(cluster or Settings())
    optional = {"pretraining": pretraining, "generation": generation, "teachers": teachers}
    # what a search measures is the training
    optional["merging"] = merging and not trial
    compiled = compiled_json(rounds, cluster, **optional)

    def graph(*values: PipelineChannel) -> None:
        inputs = dict(zip(form.parameters, values, strict=True))
        ended = {name: inputs[name] for name in ("model_name", "store", "overrides")}
        with dsl.ExitHandler(finish(compiled=compiled, **ended), name="run"):
            _steps(plan(compiled=compiled, **inputs).outputs, rounds, optional, trial=trial)
        cache_all()
        if cluster:
            configure_pods(cluster)

    graph.__signature__ = form  # type: ignore[attr-defined]
    graph.__doc__ = docstring()
    return add_choices(dsl.pipeline(name=PIPELINE_NAME)(graph))


def _steps(planned: Channels, rounds: int, optional: Mapping[str, bool], *, trial: bool) -> None:
    train_data = planned["train_data"]
    if optional["generation"]:
        given = {name: planned[name] for name in ("eval_data", "base_model", "encoder")}
        written = query_generation(train_data=train_data, **given, **_inputs_of("generation", planned))
        train_data = written.outputs["Output"]
    prepared = data_prep(
        train_data=train_data,
        eval_data=planned["eval_data"],
        known=planned["known"],
        plan=planned["data_plan"],
        **_inputs_of("data", planned),
    )
    # kfp.local 2.17 finds an output that a condition looks at only under the name Output. No if with an else: Kubeflow
    # would put the two a level deeper, and each level starts a pod of its own.
    with dsl.If(prepared.outputs["Output"] == "train", name="train"):
        _train(planned, prepared.outputs, rounds, optional, trial=trial)


def _inputs_of(step: str, planned: Channels) -> Channels:
    """What a cached step alone has of the plan: its settings, and a hash of what it reads and of its code."""
    return {"settings": planned[step], "fingerprint": planned[f"{step}_fingerprint"]}


def _train(planned: Channels, prepared: Channels, rounds: int, optional: Mapping[str, bool], *, trial: bool) -> None:
    shared = {"data": prepared["data"], "encoder": planned["encoder"]}
    measured = {"split": "test", **_inputs_of("evaluation", planned), **shared}
    models = {"base_model": planned["base_model"], "champion_model": planned["champion"]}
    before = None if trial else evaluation_before(**models, **measured).set_display_name("evaluation before")
    start = planned["start_model"]
    if optional["pretraining"]:
        known = {"prepared_data": prepared["prepared_data"], **_inputs_of("pretraining", planned), **shared}
        start = pretraining_step(base_model=start, job=planned["job"], **known).outputs["Output"]
    negatives, tuned = _rounds(rounds, start, planned, prepared, shared, teaches=optional["teachers"])
    if before:
        _judge(planned, prepared, measured, before, negatives, tuned, merges=optional["merging"])


def _judge(
    planned: Channels,
    prepared: Channels,
    measured: Channels,
    before: PipelineTask,
    negatives: PipelineTask,
    tuned: PipelineTask,
    *,
    merges: bool,
) -> None:
    """Merge the tuned model where that is wanted, compare it with base model and champion, promote and index it."""
    shared = {name: measured[name] for name in ("data", "encoder")}
    model, card = tuned.outputs["Output"], tuned.outputs["tuned_model"]
    if merges:
        known = {"prepared_data": prepared["prepared_data"], **_inputs_of("merging", planned), **shared}
        models = {"model": model, "tuned_model": card, "base_model": planned["base_model"]}
        merged = merging_step(evaluation=planned["evaluation"], **models, **known)
        model, card = merged.outputs["Output"], merged.outputs["merged_model"]
    compared = {
        "model": model,
        "base": before.outputs["base"],
        "systems": before.outputs["systems"],
        "negatives": negatives.outputs["Output"],
        "without": planned["trained_queries"],
        **measured,
    }
    compare = partial(_compare, planned, prepared, compared, card)
    index = partial(indexing, **_inputs_of("indexing", planned), **shared)

    first = compare("evaluation-tuned", champion=before.outputs["champion"], again=True)
    with dsl.If(first.outputs["Output"] == "index", name="index"):
        index(model=first.outputs["version"], promoted_model=first.outputs["promoted_model"])
    # Another run made its model the champion while this one trained: this model must beat that one.
    with dsl.If(first.outputs["Output"] == "compare again", name="compare again"):
        again = compare("evaluation-tuned-2", champion="", new_champion=first.outputs["champion"], again=False)
        index(model=again.outputs["version"], promoted_model=again.outputs["promoted_model"])


def _compare(
    planned: Channels,
    prepared: Channels,
    compared: Channels,
    tuned_model: PipelineChannel,
    name: str,
    *,
    again: bool,
    **champions: PipelineChannel | str,
) -> PipelineTask:
    """Evaluate the tuned model beside the base model and a champion, and promote it if it is better."""
    result = evaluation(name=name, **champions, **compared)
    return promotion(
        model=compared["model"],
        tuned_model=tuned_model,
        evaluation=result.outputs["Output"],
        settings=planned["promotion"],
        examples=prepared["examples"],
        again=again,
        **{key: planned[key] for key in ("model_name", "store", "indexing", "run_settings", "run_inputs")},
    )


def _rounds(
    rounds: int,
    start: PipelineChannel,
    planned: Channels,
    prepared: Channels,
    shared: Channels,
    *,
    teaches: bool,
) -> tuple[PipelineTask, PipelineTask]:
    """Mining, teachers' scores where they are wanted, and fine-tuning, each as often as there are rounds.

    Returns the tasks of mining and fine-tuning of the last round.

    The first round is named as in a pipeline of one, so that one more round takes the others from the cache.
    """

    def one(number: int, miner: PipelineChannel) -> tuple[PipelineTask, PipelineTask]:
        suffix = f"-{number}" if number > 1 else ""
        taken = {"prepared_data": prepared["prepared_data"], **shared}
        negatives = hard_negatives(
            model=miner, name=f"hard_negatives{suffix}", **_inputs_of("mining", planned), **taken
        )
        mined = {"negatives": negatives.outputs["Output"], "mined_negatives": negatives.outputs["mined_negatives"]}
        if teaches:
            scored = teachers_step(name=f"teachers{suffix}", **_inputs_of("teachers", planned), **mined, **taken)
            mined = {"negatives": scored.outputs["Output"], "mined_negatives": scored.outputs["scored_negatives"]}
        tuned = finetuning(
            **mined,
            base_model=start,
            job=planned["job"],
            name=f"finetuning{suffix}",
            **_inputs_of("training", planned),
            **taken,
        )
        if rounds > 1:
            negatives.set_display_name(f"hard negatives, round {number} of {rounds}")
            tuned.set_display_name(f"fine-tuning, round {number} of {rounds}")
        return negatives, tuned

    negatives, tuned = one(1, start)
    for number in range(2, rounds + 1):
        negatives, tuned = one(number, tuned.outputs["Output"])
    return negatives, tuned
