"""Causes that a tiny run cannot show by itself: the artifacts of the sound run with one figure changed."""

from __future__ import annotations

import copy
from dataclasses import fields, replace
from typing import Any

import pytest

from sharpen.diagnosis.artifacts import RunArtifacts
from sharpen.diagnosis.causes import data, labels, measurement, negatives, prompts, teachers, training
from sharpen.diagnosis.explain import CAUSES, explain
from sharpen.diagnosis.finding import Finding
from tests.sharpen.diagnosis.conftest import Sound

pytestmark = pytest.mark.model


WINDOWS = ["encoder.passage_max_len=320", "encoder.passage_windows=max"]


def edited(run: RunArtifacts, **changes: Any) -> RunArtifacts:
    """A deep copy of the run with values at dotted addresses replaced, the artifact first: ``training__steps``."""
    made = replace(run, **{one.name: copy.deepcopy(getattr(run, one.name)) for one in fields(run)})
    for address, value in changes.items():
        first, *path = address.split("__")
        if not path:
            made = replace(made, **{first: value})
            continue
        part = getattr(made, first)
        for name in path[:-1]:
            part = part.setdefault(name, {})
        part[path[-1]] = value
    return made


def against(run: RunArtifacts, difference: float, half: float, **more: float) -> dict[str, Any]:
    """A comparison with the base model by the metric that decides, of this difference and half interval."""
    base = run.against()
    made = {**base, "difference": difference, "candidate": base["reference"] + difference}
    made |= {"ci_low": difference - half, "ci_high": difference + half, "p_value": 0.001, **more}
    metrics = run.comparison["against"]["base"]["metrics"] | {run.metric: made}
    return {"base": {**run.comparison["against"]["base"], "metrics": metrics}}


def curve(losses: list[float], dev: list[float] = (), every: int = 10) -> list[dict[str, float]]:  # type: ignore[assignment]
    """A log of training with these losses and dev scores, the first of them at step 0."""
    log = [{"loss": loss, "step": 5 * (n + 1), "grad_norm": 1.0} for n, loss in enumerate(losses)]
    return [*log, *({"eval_dev_ndcg_at_10": score, "step": every * n} for n, score in enumerate(dev))]


def named(found: Finding | None, cause: str, kind: str) -> Finding:
    assert found is not None and (found.cause, found.kind) == (cause, kind)
    assert found.evidence and 0 < found.weight <= 1
    return found


def test_none_of_the_causes_is_seen_in_the_sound_run(sound: Sound) -> None:
    assert not [cause.__name__ for cause in CAUSES if (found := cause(sound.run)) and found.kind != "limit"]


def test_causes_of_training(sound: Sound) -> None:
    run = sound.run
    worse = edited(run, comparison__against=against(run, -0.1, 0.05))
    rose = edited(worse, training__log=curve([1.0, 1.1, 1.0, 1.4, 1.5, 1.6, 1.5]))
    named(training.rising_loss(rose), "learning rate too high: the loss rose", "harm")
    assert training.rising_loss(edited(run, training__log=rose.training["log"])) is None, "a better model may"
    raised = edited(run, training__temperature_increases=[{"step": 3}])
    assert named(training.softened(raised), "the training diverged", "harm").sure == "certain"
    fell = edited(run, training__log=curve([1.0] * 6, [0.5, 0.42, 0.4]), training__best_step=0)
    found = named(
        training.base_was_best(fell), "learning rate too high, or negatives that teach something false", "harm"
    )
    assert found.changes[0].assignment == "training.learning_rate=2e-05"
    lora = edited(fell, training__settings__lora_rank=16, training__settings__learning_rate=1e-4)
    assert training.base_was_best(lora).changes[0].value == "1e-05"  # type: ignore[union-attr]
    peak = curve([2.0, 1.5, 1.0, 0.5, 0.1, 0.05], [0.4, 0.5, 0.48, 0.46, 0.45, 0.44])
    over = edited(run, training__log=peak, training__best_step=10, training__epochs=10.0)
    found = named(training.overfitted(over), "overfitting", "harm")
    assert found.figures == {"best_step": 10, "dev_best": 0.5, "dev_last": 0.44}
    assert found.changes[0].assignment == "training.num_train_epochs=2.6"
    blind = edited(run, training__settings__eval_steps=0)
    named(training.not_watched(blind), "dev was not watched", "limit")
    rising = edited(run, training__log=curve([1.0] * 6, [0.1, 0.2, 0.3]), training__steps=100)
    named(training.few_steps(rising), "too few steps", "limit")


def test_causes_of_measuring(sound: Sound) -> None:
    run = sound.run
    guard = {"name": "general", "against": against(run, -0.08, 0.03)["base"]["metrics"]}
    forgot = edited(run, guard={**guard, "against": {"base": guard["against"]}})
    found = named(measurement.forgetting(forgot), "it forgets general search", "harm")
    assert found.figures["difference"] == -0.08 and "0.080" in found.evidence
    assert found.changes[1].assignment == "merging.enabled=true"
    table = [
        {"weight": weight, "dev": {"difference": weight / 10}, "guard": {"difference": -weight / 20}}
        for weight in (0, 0.5, 1)
    ]
    merged = {"searched": table, "weight": 1.0, "settings": {"max_guard_loss": 0.01}, "guard": {"name": "general"}}
    assert measurement.forgetting(edited(forgot, merging=merged)).changes[1].assignment == "merging.max_guard_loss=0"  # type: ignore[union-attr]
    assert len(measurement.forgetting(edited(forgot, merging={"weight": 1.0, "searched": []})).changes) == 1  # type: ignore[union-attr]
    assert measurement.only_the_base(edited(run, merging=merged)) is None
    found = named(
        measurement.only_the_base(edited(run, merging={**merged, "weight": 0})),
        "merging took the base model itself",
        "harm",
    )
    assert "weight 1 gains 0.100 and loses 0.050" in found.evidence
    assert [change.assignment for change in found.changes] == ["merging.max_guard_loss=0.06", "merging.enabled=false"]
    useless = [{**row, "dev": {"difference": -row["weight"]}} for row in table]
    assert measurement.only_the_base(edited(run, merging={**merged, "weight": 0, "searched": useless})) is None
    precision = {**run.against(metric="precision_at_10"), "difference": -0.02}
    comparison = copy.deepcopy(run.comparison)
    comparison["against"]["base"]["metrics"]["precision_at_10"] = precision
    queries = run.facts["queries"]
    here = {"facts__unjudged_in_top_10": queries * 9, "base__unjudged_in_top_10": queries * 8}
    found = named(
        measurement.unjudged(edited(run, comparison=comparison, **here)), "passages that nobody judged", "doubt"
    )
    # one more a query, of which 0.2 stand where a relevant passage stood
    assert found.figures["more_unjudged_a_query"] == pytest.approx(0.8)
    comparison["against"]["base"]["metrics"]["precision_at_10"] = {**precision, "difference": -0.1}
    assert measurement.unjudged(edited(run, comparison=comparison, **here)) is None, "only what was lost"
    named(measurement.synthetic(edited(run, facts__generated_queries=9)), "test queries that nobody asked", "doubt")
    part = {"field": "source", "value": "faq", "queries": 50, "against": {"base": {run.metric: {**run.against()}}}}
    part["against"]["base"][run.metric] |= {"difference": -0.2, "ci_high": -0.1, "p_holm": 0.01}
    worse = edited(run, slices=[part])
    named(measurement.worse_parts(worse), "parts of the queries got worse", "harm")
    named(data.unseen_source(worse), "a source that training lacks", "harm")
    assert data.unseen_source(edited(worse, data__queries_by_source={"faq": {"train": 5}})) is None
    part["against"]["base"][run.metric]["p_holm"] = 0.2
    assert measurement.worse_parts(edited(run, slices=[part])) is None, "one of many slices, by chance"
    change = {"reference": 0.8, "candidate": 0.7, "difference": -0.1, "ci_high": -0.02}
    task = {"task_type": "similarity", "name": "sts", "texts": 99, "against": {"base": {"spearman": change}}}
    named(measurement.worse_tasks(edited(run, tasks=[task])), "another task got worse", "harm")


def test_causes_of_prompts(sound: Sound) -> None:
    run = sound.run
    published = {"settings_of": "published", "prompts": {"query": "query: ", "passage": ""}, "reason": "0.6, 0.5"}
    foreign = edited(run, base__encoding=published)
    found = named(prompts.foreign_query_prompt(foreign), "a prompt that is foreign to the base model", "harm")
    assert found.changes[0].assignment == "'encoder.query_instruction_for_retrieval=query: '"
    used = {"encoding": {"query_prompts": {"query: ": 5, "": 1}, "prompts": {"query": "query: ", "passage": ""}}}
    assert prompts.foreign_query_prompt(edited(foreign, facts=run.facts | used)) is None
    named(
        prompts.missing_prompt(edited(run, training__base_model="intfloat/e5-base-v2")), "a prompt is missing", "harm"
    )
    for name in ("BAAI/bge-m3", "Qwen/Qwen3-Embedding-0.6B", run.training["base_model"]):
        assert prompts.missing_prompt(edited(run, training__base_model=name)) is None
    examples = [{"query": f"query: word {n}"} for n in range(6)]
    twice = edited(run, facts=run.facts | used, mining__examples=examples)
    named(prompts.doubled_prompt(twice), "the prompt is there twice", "harm")


def test_causes_of_labels_and_negatives(sound: Sound) -> None:
    run = sound.run
    conflict = {"classification": {"found": 0}, "relevance": {"found": 40}}
    named(
        labels.conflicts(edited(run, data__checks__conflicting_labels=conflict)),
        "labels that contradict one another",
        "harm",
    )
    rescored = edited(run, mining__rescoring={"rate_as_set": 0.3})
    assert named(negatives.false(rescored), "false negatives", "harm").sure == "likely"
    drawn = edited(run, mining__picked_by={"random": 80, "search": 20}, mining__topped_up={"at_random": 80})
    named(negatives.easy(drawn), "negatives that are too easy", "limit")
    known = edited(run, mining__picked_by={"search": 20}, mining__topped_up={"at_random": 0}, training__first_loss=1e-3)
    assert "0.0010 at the first step" in named(negatives.easy(known), "negatives that are too easy", "limit").evidence
    edges = [0.0, 0.1, 0.2, 0.3]
    histograms = {"positive_scores": {"edges": edges, "counts": [5, 5, 0]}}
    histograms["negative_scores"] = {"edges": edges, "counts": [0, 5, 5]}
    found = named(negatives.hard(edited(run, mining=run.mining | histograms)), "negatives that are too hard", "harm")
    assert found.figures["negative_above_positive"] == pytest.approx(0.875)
    above = {"all": {"negatives": 9, "share": 0.43}}
    scored = {"teachers": {"cross_encoder": {"model": "ce"}}, "above_positive": above, "doubtful": True}
    distilled = edited(run, mining__teachers=scored, training__settings__knowledge_distillation=True)
    taught = named(teachers.doubtful(distilled), "a teacher that contradicts the labels", "harm")
    assert "(ce) scores 43.0 % of the negatives" in taught.evidence and taught.figures["above_positive"] == 0.43
    assert teachers.doubtful(edited(distilled, mining__teachers=scored | {"doubtful": False})) is None
    assert teachers.doubtful(edited(distilled, training__settings__knowledge_distillation=False)) is None
    words = {"train": {"queries": 50, "p50": 3.0}, "test": {"queries": 50, "p50": 12.0}}
    named(data.other_lengths(edited(run, data__query_words_by_split=words)), "test queries of another length", "harm")
    tokens = {**run.checks["tokens"]["query"], "limit": 16, "cut_share": 0.3, "tokens_cut_share": 0.1}
    named(data.cut_queries(edited(run, data__checks__tokens__query=tokens)), "queries are cut", "harm")
    tokens = {**run.checks["tokens"]["passage"], "limit": 128, "p95": 300, "cut_share": 0.6, "tokens_cut_share": 0.4}
    cut = edited(run, data__checks__tokens__passage=tokens, training__encoder__passage_max_len=128)
    found = named(data.cut_passages(cut), "passages are cut", "limit")
    assert [change.assignment for change in found.changes] == WINDOWS
    windows = edited(cut, training__encoder__passage_windows="mean")
    assert [
        change.assignment for change in named(data.cut_passages(windows), "passages are cut", "limit").changes
    ] == WINDOWS[:1]


def test_harm_comes_before_limits_and_by_weight_and_certainty(sound: Sound) -> None:
    worse = edited(sound.run, comparison__against=against(sound.run, -0.1, 0.05), training__settings__temperature=5)
    worse = edited(worse, training__temperature_increases=[{"step": 3}], training__settings__eval_steps=0)
    found = explain(worse).findings
    assert [one.cause for one in found[:2]] == ["the training diverged", "temperature far from the usual"]
    assert found[-1].kind == "limit" and found[-1].cause == "dev was not watched"
    made = explain(worse).as_json()
    assert made["findings"][0]["command"].startswith("sharpen run ... --set training.learning_rate=")
    assert made["figures"]["base"]["difference"] == -0.1
    # the same causes in a model that is better only limit it
    assert {one.kind for one in explain(edited(sound.run, training__settings__temperature=5)).findings} == {"limit"}


def test_causes_survive_what_is_missing(sound: Sound) -> None:
    """A run whose folders were collected: nothing fails, and nothing is claimed."""
    bare = RunArtifacts(sound.run.evaluation, {"model": "m", "data": "d"}, {"ndcg_at_10": 0.5}, missing=["the data"])
    explained = explain(bare)
    assert (explained.findings, explained.missing) == ([], ["the data"])
    assert explained.headline == "The model was compared with no other; nDCG@10 is 0.500."


def test_the_rate_of_adapters_is_judged_by_what_adapters_usually_have(sound: Sound) -> None:
    flat = curve([2.0, 1.99, 1.99, 1.99, 1.98, 1.98])
    of_adapters = {"training__settings__lora_rank": 8, "training__settings__learning_rate": 2e-5}
    run = edited(sound.run, training__log=flat, **of_adapters)
    found = named(training.low_rate(run), "learning rate too low", "harm")
    assert [(one.setting, one.value) for one in found.changes] == [("training.learning_rate", "0.0001")]
    assert training.low_rate(edited(run, training__settings__lora_rank=0)) is None
