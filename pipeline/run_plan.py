"""What a run does, decided before any work starts: the inner part of the graph's first step.

Steps receive only their own group of settings, so changing one group leaves the cached results of the others valid.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.cluster.compiled_settings import check_compiled, check_on_cluster
from pipeline.parameters import STEP_GROUPS, Settings
from pipeline.presets.catalog import flat
from pipeline.run_form import FORM, settings_of
from sharpen.data.source_settings import parse_sources
from sharpen.errors import InputError
from sharpen.jobs import check_job
from sharpen.reports.html_page import message_page
from sharpen.run_context import STORE_VARIABLE, run_id
from sharpen.terminal import printable

if TYPE_CHECKING:
    from sharpen.registry.run_record import LastRun
    from sharpen.retraining.data_plan import PlannedData


@dataclass(frozen=True)
class _Model:
    """What the registry says of the model.

    Attributes:
        champion: address of the version in use; empty while there is none.
        start: model that training starts from.
        trained_queries: address of the keys of queries that champions were trained on; empty for none.
    """

    champion: str
    start: str
    trained_queries: str


def make_plan(inputs: Mapping[str, Any], compiled: str) -> tuple[tuple[str, ...], str]:
    """The outputs of the step `plan`, in their order, and its page. A skipped run is recorded.

    Args:
        inputs: of the run, as `run_form.settings_of` takes them.
        compiled: `run_form.compiled_json`.

    Raises:
        InputError: wrong settings; sources or models that are not there.
    """
    from sharpen.registry import last_run
    from sharpen.registry.earlier_runs import trained_queries
    from sharpen.registry.outcome import skipped_outcome
    from sharpen.registry.registry import champion_address
    from sharpen.registry.retention import running
    from sharpen.retraining.change_detection import SKIP, KnownExamples, plan_run
    from sharpen.retraining.fingerprint import fingerprint_inputs

    settings = checked_settings(inputs, built := json.loads(compiled))
    store, name, again = settings.store, settings.model_name, settings.retraining
    running.begin(store, run_id())
    last, champion = last_run.read(store, name), champion_address(store, name)
    start = champion if again.start_from == "champion" and champion else settings.base_model
    model = _Model(champion, start, trained_queries.newest(store, name))
    mined_with = settings.mining.addresses if settings.mining.enabled else []
    content = fingerprint_inputs(
        *(settings.train_data, settings.eval_data, settings.base_model, mined_with, model.start, settings.data.corpus),
        *(settings.evaluation.addresses, settings.data.judgements),
        generated_from=settings.generation.inputs,
        merged_with=settings.merging.models if built.get("merging") else (),
        taught_by=settings.teachers.addresses,
    )
    steps = _steps_of(built, settings)
    identity = content.identity(settings.results_hash(built["rounds"], steps), [n for n, has in steps.items() if has])
    decided = plan_run(store, name, last, identity, content.sources, again.min_new_examples, force=again.force)
    if skipped := decided.decision == SKIP:
        last_run.record_skip(store, name, reason=decided.reason, sources=content.sources, least=again.min_new_examples)
    print(printable(f"champion: {champion or 'none yet'}; training starts from {model.start}"))
    print(skipped_outcome(name, store, decided.reason).block(store) if skipped else printable(decided.reason))
    # a skipped run prepares nothing; the same empty inputs let the cache answer for it
    sources, fingerprints, record = ("",) * 4, content.of_steps(), {"identity": identity, "sources": content.sources}
    groups = {group: settings.group_json(group, on_cluster=bool(built.get("pods"))) for group in STEP_GROUPS}
    if not skipped:
        compared = decided.known
        if not compared and again.leaves_out(parse_sources(settings.train_data)):
            # data_prep may find nothing to train on whatever the last run had
            compared = KnownExamples(store, name, "", "", again.min_new_examples, content.sources)
        known = compared.as_json() if compared else ""
        planned = planned_data(settings, last, groups["data"], content.sources)
        sources = (settings.train_data, settings.eval_data, known, planned.plan.as_json())
        record |= {"data_plan": sources[-1], "data_key": planned.key}
    if skipped:
        groups |= {"data": "{}", "generation": "{}"}
        fingerprints |= {"data": "", "generation": ""}
    outputs = (
        *(decided.decision, decided.reason, name, store, *sources),
        *(settings.base_model, model.start, model.champion, model.trained_queries),
        *(*fingerprints.values(), json.dumps(record, sort_keys=True), settings.given_json(), *groups.values()),
    )
    return outputs, _page(settings, model, f"{decided.decision}: {decided.reason}")


def planned_data(settings: Settings, last: LastRun | None, of_data: str, sources: str) -> PlannedData:
    """What earlier runs and windows say about the run's data."""
    from sharpen.data.preparation.data_plan import DataPlan
    from sharpen.registry.earlier_runs.run_day import run_day
    from sharpen.retraining.data_plan import plan_data

    store, name = settings.store, settings.model_name
    selection = DataPlan.of(settings.retraining, parse_sources(settings.train_data), partial(run_day, store, name))
    return plan_data(store, name, last, selection, settings=of_data, sources=sources)


def checked_settings(inputs: Mapping[str, Any], built: Mapping[str, Any]) -> Settings:
    """The settings of a run, the cluster's store filled in. Raises InputError: one line per fault."""
    settings = settings_of(inputs, built.get("defaults"))
    settings.retraining.check(parse_sources(settings.train_data), "retraining.")
    pods = built.get("pods", {})
    steps = _steps_of(built, settings)
    graph = {"mining.rounds": built["rounds"], **{f"{name}.enabled": present for name, present in steps.items()}}
    check_compiled(settings, graph, pods, FORM)
    settings.generation.check_documents()
    _check_steps(settings, steps)
    if pods:
        settings = settings.model_copy(update={"store": store_of(settings.store)})
        if not settings.store:
            raise InputError(
                f"store: is empty, and so is {STORE_VARIABLE} in the ConfigMap sharpen-store; set one of them to "
                "s3://bucket/key"
            )
        check_on_cluster(settings)
    check_job(settings.job)
    return settings


def _steps_of(built: Mapping[str, Any], settings: Settings) -> dict[str, bool]:
    """`Settings.optional_steps`, as the pipeline has them: a run of it may leave out what it was compiled with."""
    return {name: built.get(name, False) for name in settings.optional_steps()}


def _check_steps(settings: Settings, steps: Mapping[str, bool]) -> None:
    """Raise InputError where one of the graph's optional `steps` cannot serve another, or comes to nothing."""
    averages = settings.merging.method == "average"
    if steps["merging"] and averages and not settings.merging.models:
        raise InputError(
            "merging.models: is empty, and the average of one model is that model; name others, set "
            "merging.method=interpolation, or merging.enabled=false"
        )
    if steps["merging"] and steps["pretraining"] and not averages:
        raise InputError(
            "merging.enabled: between the base model and one that was fine-tuned after pre-training no weight is good; "
            "set merging.enabled or pretraining.enabled to false"
        )
    if settings.teachers.enabled:
        settings.teachers.check_teachers("teachers.")
        if not settings.training.knowledge_distillation and settings.teachers.margin is None:
            raise InputError(
                "teachers.enabled: nobody uses the scores; set training.knowledge_distillation=true to learn from "
                "them, or teachers.margin to leave out negatives by them"
            )


def store_of(store: str) -> str:
    """The store of a run: the one that it names, else the cluster's own; empty where there is none."""
    return store or os.environ.get(STORE_VARIABLE, "")


def _page(settings: Settings, model: _Model, decision: str) -> str:
    rows = {
        "training data": settings.train_data,
        "evaluation data": settings.eval_data or "a part of the training data",
        "base model": settings.base_model,
        "champion": model.champion or "none yet",
        "training starts from": model.start,
        "store": settings.store,
    }
    given = json.loads(settings.given_json())
    rows |= {name: json.dumps(value) if "." in name else value for name, value in flat(given).items()}
    return message_page(settings.model_name, decision, list(rows.items()))
