"""Each fault is put into the data or settings of a real, tiny run, and its cause is named; a sound run has none."""

from __future__ import annotations

import random

import pytest

from sharpen.diagnosis.artifacts import RunArtifacts, read_artifacts
from sharpen.diagnosis.explain import explain
from sharpen.diagnosis.finding import Finding
from sharpen.errors import InputError
from tests.sharpen.diagnosis.conftest import Sound
from tests.sharpen.diagnosis.runs import WORDS, make_rows

pytestmark = pytest.mark.model


def causes(run: RunArtifacts) -> dict[str, Finding]:
    return {one.cause: one for one in explain(run).findings}


def settings_of(found: Finding) -> dict[str, str]:
    return {change.setting: change.value for change in found.changes}


def test_a_sound_run_gives_no_false_alarm(sound: Sound) -> None:
    explained = explain(sound.run)
    assert explained.of("harm", "doubt") == []
    assert explained.missing == []
    assert explained.headline.startswith("The model is better than the base model: nDCG@10 ")
    assert all(one.kind == "limit" for one in explained.findings)


def test_a_batch_of_one(sound: Sound) -> None:
    settings = {"train_batch_size": 1, "max_steps": 3}
    found = causes(sound.workshop.run("one", sound.data, sound.negatives, sound.base, **settings))["a batch of one"]
    assert found.figures == {"negatives_per_query": 2.0, "train_batch_size": 1, "train_group_size": 3}
    assert (found.sure, settings_of(found)) == ("likely", {"training.train_batch_size": "64"})
    assert found.command == "sharpen run ... --set training.train_batch_size=64"


def test_a_rate_of_one_collapses_the_model(sound: Sound) -> None:
    run = sound.workshop.run("fast", sound.data, sound.negatives, sound.base, learning_rate=1.0, max_steps=6)
    explained = explain(run)
    assert "worse than the base model" in explained.headline
    first = explained.findings[0]
    assert first.cause == "learning rate too high: the model collapsed" and first.sure == "certain"
    assert settings_of(first) == {"training.learning_rate": "2e-05"}


def test_passages_cut_at_four_tokens(sound: Sound) -> None:
    found = causes(sound.workshop.run("cut", sound.data, None, sound.base, passage_max_len=4))["passages are cut"]
    assert found.kind == "harm" and found.figures["limit"] == 4 and found.figures["share_of_passages_cut"] >= 0.5
    assert settings_of(found) == {"encoder.passage_max_len": "32"}


def test_a_hot_temperature_and_a_rate_too_low(sound: Sound) -> None:
    settings = {"temperature": 0.5, "learning_rate": 1e-8, "max_steps": 3}
    found = causes(sound.workshop.run("slow", sound.data, sound.negatives, sound.base, **settings))
    assert settings_of(found["temperature far from the usual"]) == {"training.temperature": "0.02"}
    assert settings_of(found["learning rate too low"]) == {"training.learning_rate": "2e-05"}
    assert found["too few steps"].figures["steps"] == 3


def test_shuffled_labels(sound: Sound) -> None:
    rows = make_rows(150, seed=2)
    answers = [row["pos"] for row in rows]
    random.Random(3).shuffle(answers)
    shuffled = [row | {"pos": answer} for row, answer in zip(rows, answers, strict=True)]
    workshop = sound.workshop
    data = workshop.prepare("shuffled", shuffled, make_rows(70, seed=4))
    negatives, base = workshop.mine("shuffled", data), workshop.measure("shuffled-base", data)
    run = workshop.run("shuffled", data, negatives, base)
    found = causes(run)["positives that do not fit"]
    assert found.figures["share_in_top_10"] < 0.1 < found.figures["share_in_top_10_of_test"]
    assert settings_of(found) == {"mining.consistency_top": "100", "mining.on_inconsistent": "drop"}


def test_data_with_copies_near_leaks_another_language_and_few_queries(sound: Sound) -> None:
    """Several faults of one data set, none of which hides another."""
    rng = random.Random(5)
    rows = make_rows(40, seed=6, filler=20)
    copies = [row["pos"][0] + f" {rng.choice(WORDS)}" for row in rows for _ in range(2)]
    asked = ["what is the difference between a {} and a {}, and when would I want to use the second one of them"]
    near = [rows[n] | {"query": rows[n]["query"] + " the"} for n in range(8)]
    long = [asked[0].format(*rng.sample(WORDS, 2)) for _ in range(12)]
    german = [f"wie kann ich mir eine neue Wohnung in der {n}. Straße suchen, die nicht teuer ist" for n in range(12)]
    test = near + [{"query": query, "pos": [rng.choice(rows)["pos"][0]]} for query in long + german]
    train = [row | {"query": f"where is the {row['query'].removeprefix('what is ')} in our city"} for row in rows[8:]]
    train = rows[:8] + train
    workshop = sound.workshop
    corpus = workshop.folder / "corpus.jsonl"
    corpus.write_text("".join(f'{{"_id": "c{n}", "text": "{text}"}}\n' for n, text in enumerate(copies)))
    data = workshop.prepare("faults", train, test, corpus=str(corpus), dev_share=0)
    run = workshop.run("faults", data, None, workshop.measure("faults-base", data))
    found = causes(run)
    assert found["passages that repeat one another"].figures["near_duplicates"] >= 60
    assert found["near copies of test queries in training"].kind == "doubt"
    assert found["languages that training lacks"].figures["languages"] == ["de"]
    assert found["few training queries"].figures["training_queries"] <= 40
    tell = found["too few test queries to tell"]
    assert tell.sure == "certain" and tell.figures["queries"] == 32
    # the definition: half the interval, and the number that makes it a hundredth
    change = run.against()
    assert tell.figures["smallest_visible"] == pytest.approx((change["ci_high"] - change["ci_low"]) / 2)
    half = tell.figures["smallest_visible"] * (32 / tell.figures["queries_needed"]) ** 0.5
    assert half == pytest.approx(0.01, rel=0.01)


def test_test_queries_that_are_training_queries(sound: Sound) -> None:
    workshop = sound.workshop
    base = workshop.measure("train-base", sound.data, split="train")
    model = sound.run.facts["model"]
    found = causes(read_artifacts(workshop.measure("train-split", sound.data, model, base, split="train")))
    leak = found["test queries in training"]
    assert leak.figures["shared_queries"] == leak.figures["measured_queries"] > 100
    assert (leak.kind, leak.sure) == ("doubt", "certain")


def test_mining_without_a_margin_picks_hidden_positives(sound: Sound) -> None:
    rows = [row | {"pos": [row["pos"][0], f"{row['pos'][0]} {row['pos'][0]}"]} for row in make_rows(120, seed=8)]
    workshop = sound.workshop
    data = workshop.prepare("several", rows, dev_share=0)
    negatives = workshop.mine("several", data, relative_margin=None, range_for_sampling="0-100", negative_number=60)
    run = workshop.run("several", data, negatives, workshop.measure("several-base", data))
    found = causes(run)["false negatives"]
    assert found.figures["rate_of_hidden_positives"] > 0.5
    assert settings_of(found)["mining.relative_margin"] == "0.05"


def test_what_is_no_run_is_one_line(sound: Sound) -> None:
    with pytest.raises(InputError, match=r"no finished evaluation there"):
        read_artifacts(f"{sound.workshop.folder}/nothing")
    with pytest.raises(InputError, match=r"not an evaluation: facts\.json"):
        read_artifacts(sound.data)
