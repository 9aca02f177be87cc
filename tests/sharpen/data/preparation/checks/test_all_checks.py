"""The checks of a prepared data set: in stats.json, on its page, in its tables, and held against a contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sharpen.data.dataset import DataSet
from sharpen.data.preparation.page import read_page
from sharpen.data.preparation.prepare import prepare
from sharpen.data.preparation.settings import DataSettings
from sharpen.errors import InputError
from tests.sharpen.data.input_files import write_beir, write_rows
from tests.sharpen.reports.html_pages import check_page

ENGLISH = "How can a user of the service change the password of account number {} that was locked"
GERMAN = "Wie kann ich das Passwort für mein gesperrtes Konto Nummer {} wieder zurücksetzen lassen"
KEY = "AKIA" + "ABCDEFGHIJKLMNOP"
SETTINGS: dict[str, Any] = {"find_secrets": True, "max_bad_share": 0.5, "query_max_len": 30, "dev_share": 0.0}


def train_data(folder: Path) -> list[str]:
    return [str(folder / name) for name in ("rows.jsonl", "texts.jsonl", "pairs.jsonl", "judged.jsonl")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows, a BEIR folder, labelled texts and labelled pairs with one of everything that is checked."""
    made = tmp_path_factory.mktemp("checked")
    rows = [
        {"query": f"Topic {n * n + 7}: what is number {n}?", "pos": [f"Unlike others, {n * 37} says {n**3}."]}
        for n in range(30)
    ]
    rows += [{"query": rows[0]["query"], "pos": rows[0]["pos"]}, {"query": rows[1]["query"].upper(), "pos": ["other"]}]
    rows += [
        {"query": GERMAN.format(n), "pos": [f"Antwort auf die Frage {n} nach dem gesperrten Konto"]} for n in (1, 2)
    ]
    rows += [{"query": f"My key is {KEY}, who can see it?", "pos": ["Rotate it", "Ask it@example.org", "Third"]}]
    rows += [{"query": "with a negative", "pos": ["right"], "neg": ["wrong", "right"]}]
    rows += [{"query": "with a blank negative", "pos": ["right again"], "neg": [" "]}]
    rows += [{"query": "long " * 60, "pos": ["short"]}]
    write_rows(made / "rows.jsonl", rows)
    corpus = [{"_id": f"p{n}", "text": ENGLISH.format(n)} for n in (1, 2)] + [{"_id": "p3", "text": "same words"}]
    queries = [{"_id": f"q{n}", "text": f"Where is it written for {n}"} for n in (1, 2)] + [
        {"_id": "q3", "text": "Same words"}
    ]
    qrels = ["q1\tp1\t1", "q2\tp2\t1", "q3\tp3\t1", "q3\tp1\t1"]
    write_beir(made / "beir", corpus, queries, {"test": qrels})
    write_rows(made / "texts.jsonl", [{"text": "Great!", "label": "good"}, {"text": "great!", "label": "bad"}])
    pairs = [("a cat sleeps", "a cat rests", 4.0), ("A cat sleeps", "a cat rests", 1.0)]
    write_rows(
        made / "pairs.jsonl", [{"sentence1": one, "sentence2": two, "score": score} for one, two, score in pairs]
    )
    judged = [("Is it so?", "It is so", 1), ("is it so?", "it is so", 0)]
    write_rows(
        made / "judged.jsonl", [{"sentence1": one, "sentence2": two, "label": is_so} for one, two, is_so in judged]
    )
    prepare(train_data(made), [str(made / "beir")], str(made / "out"), DataSettings.checked(SETTINGS))
    return made


@pytest.fixture(scope="module")
def checks(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out" / "stats.json").read_text(encoding="utf-8"))["checks"]


def test_every_check_counts_what_stands_in_the_data(checks: dict[str, Any]) -> None:
    assert checks["tokens"]["query"]["limit"] == 30 and checks["tokens"]["query"]["cut"] == 1
    assert checks["tokens"]["passage"]["limit"] == 256 and checks["tokens"]["passage"]["cut"] == 0
    duplicates = checks["duplicates"]
    assert (duplicates["query"]["exact"], duplicates["query"]["normalised"]) == (1, 4)
    assert duplicates["passage"]["near"]["near_duplicates"] == 1
    assert checks["conflicting_labels"]["classification"] == {
        "found": 1,
        "examples": [{"text": "Great!", "values": "bad, good"}],
    }
    assert checks["conflicting_labels"]["similarity"]["found"] == 1
    assert checks["conflicting_labels"]["similarity"]["examples"][0]["values"] == "1.0 and 4.0"
    [relevance] = checks["conflicting_labels"]["relevance"]["examples"]
    assert relevance == {"text": "Is it so?", "passage": "It is so", "values": "0.0 and 1.0"}
    assert checks["positives_equal_to_queries"] == {"pairs": 1, "examples": ["Same words"]}
    assert checks["negatives"]["that_are_positives"] == 1 and checks["negatives"]["rows_with_an_empty_one"] == 1
    assert checks["negatives"]["given"] == 1 and "neg[0]" in checks["negatives"]["examples"][0]
    assert checks["positives_per_query"]["3 to 5"] == 1 and checks["positives_per_query"]["2"] == 2
    assert checks["secrets"]["query"]["AWS access key"]["texts"] == 1
    assert checks["secrets"]["passage"]["e-mail address"]["texts"] == 1
    assert KEY not in json.dumps(checks["secrets"])


def test_tables_have_languages_and_the_fingerprint_does_not_depend_on_them(folder: Path, tmp_path: Path) -> None:
    data = DataSet.open(str(folder / "out"))
    german = data.queries.filter(pl.col("text").str.starts_with("Wie"))
    assert german["language"].to_list() == ["de", "de"]
    assert data.corpus.filter(pl.col("passage_id") == "p1")["language"].item() == "en"
    stats = json.loads((folder / "out" / "stats.json").read_text(encoding="utf-8"))
    assert {"en", "de"} <= set(stats["languages"])
    assert data.fingerprint() == stats["fingerprint"]
    written = DataSettings.checked({**SETTINGS, "detect_language": False})
    marker = prepare(train_data(folder), [str(folder / "beir")], str(tmp_path / "out"), written)
    assert marker.facts["fingerprint"] == stats["fingerprint"]
    assert "language" not in DataSet.open(str(tmp_path / "out")).queries.columns
    assert "Languages" not in check_page(read_page(str(tmp_path / "out")))


def test_the_page_says_first_what_is_worth_a_look(folder: Path) -> None:
    text = check_page(read_page(str(folder / "out")))
    for sentence in (
        "Secrets or addresses in queries: AWS access key in 1.",
        "Labels of classification that contradict one another: 1.",
        "1 positive passages say the same as their query, so they measure nothing.",
        "1 given negatives are positives of their query, and were left out.",
        "The queries are in several languages: en",
        "1 rows with an empty one are in quarantine",
    ):
        assert sentence in text
    assert text.index("Worth a look") < text.index("Splits")
    for heading in ("What the model sees of it", "Languages", "Texts that come again", "What training knows of dev"):
        assert heading in text
    assert "Passages that are nearly the same" in text and ENGLISH.format(2) in text
    assert KEY not in text.partition("Secrets and addresses in queries")[2]


def test_a_page_of_data_of_an_earlier_version_has_no_checks(folder: Path, tmp_path: Path) -> None:
    stats = json.loads((folder / "out" / "stats.json").read_text(encoding="utf-8"))
    del stats["checks"]
    (tmp_path / "stats.json").write_text(json.dumps(stats), encoding="utf-8")
    assert "Worth a look" not in check_page(read_page(str(tmp_path)))


BROKEN = {
    "min_rows: 1000": "min_rows: 1,000 wanted, there are 53 rows",
    "min_passages: 900": "min_passages: 900 wanted, there are",
    "min_train_queries: 900": "min_train_queries: 900 wanted, there are",
    "min_test_queries: 4": "min_test_queries: 4 wanted, there are 3 test queries",
    "max_rejected_share: 0": "max_rejected_share: 0.00% allowed, 1.85% of the rows were set aside",
    "languages: [en]": "of the queries are in other languages (de",
    "max_cut_query_share: 0": "of the queries are longer than 30 tokens (estimated)",
    "max_near_duplicate_share: 0": "of the passages nearly repeat another one",
    "max_conflicting_labels: 1": "max_conflicting_labels: 1 allowed, there are 3",
    "max_texts_with_secrets: 0": "max_texts_with_secrets: 0 allowed, there are 2",
}


def with_contract(folder: Path, tmp_path: Path, contract: str, **changed: Any) -> None:
    (tmp_path / "contract.yaml").write_text(contract, encoding="utf-8")
    settings = DataSettings.checked({**SETTINGS, "contract": str(tmp_path / "contract.yaml"), **changed})
    prepare(train_data(folder), [str(folder / "beir")], str(tmp_path / "out"), settings)


def test_data_that_do_not_keep_the_contract_are_refused_with_every_reason(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        with_contract(folder, tmp_path, "\n".join(BROKEN))
    *reasons, last = caught.value.faults
    assert "nothing was written" in last
    for reason in BROKEN.values():
        assert any(str(tmp_path / "contract.yaml") in fault and reason in fault for fault in reasons), (
            reason,
            "\n".join(reasons),
        )
    assert not (tmp_path / "out").exists()


def test_data_that_keep_the_contract_are_written(folder: Path, tmp_path: Path) -> None:
    bounds = ["min_rows: 53", "min_test_queries: 3", "max_conflicting_labels: 3", "max_near_leak_share: 0.5"]
    with_contract(folder, tmp_path, "\n".join(bounds))
    assert DataSet.open(str(tmp_path / "out")).queries.height


def test_a_bound_on_what_was_not_looked_at_is_a_fault(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        bounds = "languages: [en]\nmax_texts_with_secrets: 0"
        with_contract(folder, tmp_path, bounds, detect_language=False, find_secrets=False)
    assert "set data.find_secrets to true" in str(caught.value) and "set data.detect_language" in str(caught.value)


@pytest.mark.parametrize(
    ("contract", "reason"),
    [
        ("min_row: 3", "min_row"),
        ("min_rows: many", "min_rows"),
        ("[1]", "must hold settings"),
        ("min_rows: 1\nmin_rows: 2", "stands twice"),
        ("min_rows: [", "not valid YAML"),
    ],
)
def test_a_contract_that_is_none_is_refused_before_anything_is_read(tmp_path: Path, contract: str, reason: str) -> None:
    (tmp_path / "contract.yaml").write_text(contract, encoding="utf-8")
    settings = DataSettings(contract=str(tmp_path / "contract.yaml"))
    with pytest.raises(InputError, match=reason) as caught:
        prepare([str(tmp_path / "is not there.jsonl")], [], str(tmp_path / "out"), settings)
    assert "contract.yaml" in str(caught.value)


def test_a_contract_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"contract\.yaml"):
        prepare([], [], str(tmp_path / "out"), DataSettings(contract=str(tmp_path / "contract.yaml")))
