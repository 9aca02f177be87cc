"""What the registry keeps of decisions and of training queries."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sharpen.data import query_keys
from sharpen.data.text import text_key
from sharpen.errors import InputError
from sharpen.registry import decisions
from sharpen.registry.earlier_runs import trained_queries
from sharpen.registry.gate.evaluation_summary import read_evaluation_summary
from sharpen.registry.outcome import measured_outcome
from sharpen.registry.promote import judge, promote
from sharpen.registry.settings import PromotionSettings
from sharpen.store import storage
from tests.sharpen.registry.conftest import GOOD, figures

Make = Callable[..., str]
SETTINGS = PromotionSettings.checked({})
BAD = GOOD | {"ndcg_at_10": figures(0.5, 0.4, -0.2)}
FEW = GOOD | {"ndcg_at_10": figures(0.5, 0.58, 0.05, queries=20)}
QUESTIONS = [f"question {number}" for number in range(20)]


def earlier(root: str, evaluation: str) -> int:
    return decisions.earlier(root, read_evaluation_summary(evaluation), SETTINGS)


def test_a_test_set_knows_how_often_it_has_decided(root: str, make_model: Make, make_evaluation: Make) -> None:
    made = [
        make_evaluation(make_model(f"w{n}"), entries=entries, tested=QUESTIONS)
        for n, entries in enumerate([GOOD, BAD, FEW, BAD])
    ]
    assert earlier(root, made[0]) == 0
    for evaluation in made:
        judge(evaluation, "code-search", root, SETTINGS)
    # what cannot be told decides nothing; a decision is not earlier than itself
    assert [earlier(root, evaluation) for evaluation in made] == [2, 2, 3, 2]
    judge(made[0], "code-search", root, SETTINGS)
    promote(storage.read_manifest(made[0]).facts["model"], made[0], "code-search", root, SETTINGS)
    assert earlier(root, made[1]) == 2, "the gate, its retry and the promotion are one decision"
    assert [record.verdict for record in decisions.records(root, "code-search")].count("reject") == 2


def test_another_models_decisions_count_and_a_grown_test_set_is_known_again(
    root: str, make_model: Make, make_evaluation: Make
) -> None:
    judge(make_evaluation(make_model("w1"), tested=QUESTIONS), "one", root, SETTINGS)
    grown = make_evaluation(make_model("w2"), tested=QUESTIONS[:11] + [f"new {n}" for n in range(11)])
    other = make_evaluation(make_model("w3"), tested=QUESTIONS[:10] + [f"new {n}" for n in range(11)])
    assert (earlier(root, grown), earlier(root, other)) == (1, 0)


def test_a_dry_run_counts_and_keeps_nothing(root: str, make_model: Make, make_evaluation: Make) -> None:
    dry = PromotionSettings(mode="never")
    evaluation = make_evaluation(make_model("w1"))
    judge(evaluation, "code-search", root, dry)
    assert decisions.records(root) == []


def test_decisions_at_the_same_time_are_all_kept(root: str, make_model: Make, make_evaluation: Make) -> None:
    made = [make_evaluation(make_model(f"w{n}"), tested=QUESTIONS) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda evaluation: judge(evaluation, "code-search", root, SETTINGS), made * 2))
    assert len(decisions.records(root)) == 8
    assert earlier(root, made[0]) == 7


def test_a_test_set_that_has_decided_often_is_warned_of(root: str, make_model: Make, make_evaluation: Make) -> None:
    for number in range(10):
        judge(make_evaluation(make_model(f"w{number}")), "code-search", root, SETTINGS)
    last = make_evaluation(make_model("last"))
    told = {"verdict": "reject", "reasons": [], "version": "", "run": "r"}
    notes = measured_outcome(last, "code-search", root, SETTINGS, **told).notes
    assert "Test:   these queries have decided 10 times before" in notes
    assert any(line.startswith("This test set has decided 10 times.") for line in notes)
    assert any("0.480 (60 queries)" in line for line in notes)


def test_a_record_holds_dev_and_the_settings_of_the_run(root: str, make_model: Make, make_evaluation: Make) -> None:
    given = {"training": {"temperature": 0.05}}
    judge(make_evaluation(make_model("w1")), "code-search", root, SETTINGS, json.dumps(given))
    (record,) = decisions.records(root)
    assert record.dev == pytest.approx({"base": 0.4, "candidate": 0.48})
    assert (record.dev_queries, record.run_settings, record.metric) == (60, given, "ndcg_at_10")
    assert record.test["gain"] == pytest.approx(0.08)
    address = storage.join(root, "decisions")
    (file,) = [file.name for file in storage.list_files(address) if file.name.endswith(".json")]
    storage.write_bytes(storage.join(address, file), b'{"model": 1}')
    with pytest.raises(InputError, match=r"damaged .*delete it"):
        decisions.records(root)


def test_what_champions_were_trained_on_adds_up_over_versions(
    root: str, make_model: Make, make_evaluation: Make
) -> None:
    assert trained_queries.newest(root, "code-search") == ""
    champion, known = "", []
    for number in range(1, 4):
        model = make_model(f"w{number}")
        evaluation = make_evaluation(model, champion=champion, trained=QUESTIONS[number : number + 2])
        champion = promote(model, evaluation, "code-search", root, SETTINGS).version
        known = sorted({*known, *map(text_key, QUESTIONS[number : number + 2])})
        newest = trained_queries.newest(root, "code-search")
        assert newest.partition("?")[0].endswith(f"v{number:04}.u64")
        assert query_keys.read(newest).tolist() == known
    rejected = make_model("w9")
    promote(rejected, make_evaluation(rejected, champion=champion, entries=BAD), "code-search", root, SETTINGS)
    assert trained_queries.newest(root, "code-search") == newest


def test_keys_are_those_of_normalised_texts() -> None:
    keys = [text_key(text) for text in ("How  many?", "how many?", "Other")]
    assert keys[0] == keys[1] != keys[2]
    again = np.frombuffer(query_keys.as_bytes(keys), "<u8")
    assert again.tolist() == sorted(set(keys))


def test_a_damaged_file_of_keys_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "keys.u64").write_bytes(b"seven b")
    with pytest.raises(InputError, match=r"keys\.u64: damaged"):
        query_keys.read(str(tmp_path / "keys.u64"))
