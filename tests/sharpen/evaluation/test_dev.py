"""Dev is measured beside test, and what a champion was trained on is left out of test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sharpen.data import query_keys
from sharpen.data.text import text_key
from sharpen.errors import InputError
from sharpen.evaluation.evaluate import evaluate
from sharpen.store import storage
from tests.sharpen.evaluation.test_evaluate import FAST, SHORT, write_beir

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Thirty queries: ten of test, twelve of dev, eight of train."""
    folder = write_beir(tmp_path_factory.mktemp("dev data") / "set")
    header, *judged = (folder / "qrels" / "test.tsv").read_text().splitlines()
    parts = {"test": range(10), "dev": range(10, 22), "train": range(22, 30)}
    for split, numbers in parts.items():
        rows = [line for line in judged if int(line.split("\t")[0][1:]) in numbers]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join([header, *rows]) + "\n")
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory, data, tiny_model) -> str:
    address = str(tmp_path_factory.mktemp("base") / "out")
    evaluate(str(tiny_model), str(data), "test", address, FAST, SHORT)
    return address


def test_dev_has_the_figures_of_an_evaluation_of_dev_and_is_compared(base, data, tiny_model, tmp_path):
    evaluate(str(tiny_model), str(data), "dev", str(tmp_path / "alone"), FAST, SHORT)
    alone = storage.read_json(str(tmp_path / "alone" / "metrics.json"))
    beside = storage.read_json(f"{base}/dev.json")
    assert beside["metrics"] == pytest.approx(alone)
    assert (beside["queries"], beside["groups"], beside["against"]) == (12, 12, {})
    assert storage.read_manifest(base).facts["dev"]["ndcg_at_10"] == pytest.approx(alone["ndcg_at_10"])
    evaluate(str(tiny_model), str(data), "test", str(tmp_path / "tuned"), FAST, SHORT, references={"base": base})
    compared = storage.read_json(str(tmp_path / "tuned" / "dev.json"))["against"]["base"]["ndcg_at_10"]
    assert (compared["difference"], compared["queries"], compared["ties"]) == (0, 12, 12)
    assert compared["reference"] == pytest.approx(alone["ndcg_at_10"])
    page = (tmp_path / "tuned" / "report.html").read_text()
    assert "On dev, to compare runs" in page and "12\N{NO-BREAK SPACE}queries that neither train nor decide" in page


def test_the_figures_of_test_do_not_change_for_dev(base, data, tiny_model, tmp_path):
    folder = tmp_path / "no dev"
    (folder / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        (folder / name).write_bytes((data / name).read_bytes())
    evaluate(str(tiny_model), str(folder), "test", str(tmp_path / "out"), FAST, SHORT)
    assert storage.read_json(str(tmp_path / "out" / "metrics.json")) == pytest.approx(
        storage.read_json(f"{base}/metrics.json")
    )
    assert storage.read_json(str(tmp_path / "out" / "dev.json"))["queries"] == 0
    assert "The data have no dev split" in (tmp_path / "out" / "report.html").read_text()


def test_queries_that_a_champion_was_trained_on_are_left_out_and_counted(base, data, tiny_model, tmp_path):
    texts = {row["_id"]: row["text"] for row in map(json.loads, (data / "queries.jsonl").read_text().splitlines())}
    trained = query_keys.read(f"{base}/{query_keys.TRAINED}")
    keys = [(text_key(texts[f"q{n}"]), query_keys.id_key(f"q{n}")) for n in range(22, 30)]
    assert set(trained.tolist()) == {key for pair in keys for key in pair}
    seen = tmp_path / "seen.u64"
    seen.write_bytes(query_keys.as_bytes(text_key(f"  {texts[f'q{n}'].upper()} ") for n in (3, 7, 25)))
    evaluate(str(tiny_model), str(data), "test", str(tmp_path / "out"), FAST, SHORT, without=str(seen))
    facts = storage.read_manifest(str(tmp_path / "out")).facts
    assert facts["queries_left_out"] == 2
    measured = query_keys.read(str(tmp_path / "out" / query_keys.MEASURED))
    assert set(measured.tolist()) == {text_key(texts[f"q{n}"]) for n in range(10) if n not in (3, 7)}
    assert "q3 " not in (tmp_path / "out" / "run.trec").read_text()
    # a reference that was measured with all queries is compared on those that are left
    references = {"base": base}
    evaluate(
        str(tiny_model), str(data), "test", str(tmp_path / "two"), FAST, SHORT, references=references, without=str(seen)
    )
    compared = storage.read_json(str(tmp_path / "two" / "comparison.json"))["against"]["base"]["metrics"]["ndcg_at_10"]
    assert (compared["queries"], compared["difference"], compared["ties"]) == (8, 0, 8)
    seen.write_bytes(query_keys.as_bytes(map(text_key, texts.values())))
    with pytest.raises(InputError, match="trained on all 10 judged queries of test"):
        evaluate(str(tiny_model), str(data), "test", str(tmp_path / "none"), FAST, SHORT, without=str(seen))
