"""Generated queries are trained on; people's alone are held out, and what is measured without them says so."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from sharpen.data.dataset import DataSet
from sharpen.data.generated import generated_by_split, generated_fields, is_generated, warning
from sharpen.data.preparation.page import read_page
from sharpen.data.preparation.prepare import prepare
from sharpen.data.preparation.settings import DataSettings
from sharpen.evaluation.evaluate import evaluate
from sharpen.store import storage
from tests.sharpen.evaluation.test_evaluate import FAST, SHORT

SETTINGS = DataSettings.checked({"test_share": 0.3, "dev_share": 0.2})


def _rows(path: Path, count: int, *, generated: bool, word: str) -> str:
    fields = {"fields": json.loads(generated_fields(style="question"))} if generated else {}
    rows = [{"query": f"{word} query {n}", "pos": [f"{word} passage {n}"], **fields} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_people_are_held_out_and_their_queries_stay_theirs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    human = _rows(tmp_path / "z-human.jsonl", 30, generated=False, word="human")
    written = _rows(tmp_path / "a-generated.jsonl", 60, generated=True, word="model")
    # a generated query that a person has asked, too, with another passage
    with Path(written).open("a") as file:
        row = {"query": "Human  query 3", "pos": ["model passage 1"], "fields": json.loads(generated_fields())}
        file.write(json.dumps(row) + "\n")
    marker = prepare([human, written], [], str(tmp_path / "out"), SETTINGS)
    queries = DataSet.open(str(tmp_path / "out")).queries
    assert generated_by_split(queries) == {"train": 60}
    held_out = queries.filter(pl.col("split") != "train")
    assert held_out.height > 8 and set(held_out["source"]) == {"z-human"}
    # shares of people's queries, not of all
    assert 6 <= queries.filter(split="test").height <= 12
    assert queries.filter(text="human query 3")["source"].to_list() == ["z-human"]
    assert "Human  query 3" not in queries["text"].to_list()
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert stats["generated"] == {"train": 60} and stats["dropped"]["generated_queries_of_people_too"] == 1
    assert "SYNTHETIC" not in capsys.readouterr().out
    assert marker.facts["metrics"]["train_queries"] > 60


def test_test_set_without_people_says_so_loudly(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = _rows(tmp_path / "generated.jsonl", 60, generated=True, word="model")
    prepare([written], [], str(tmp_path / "out"), SETTINGS)
    loud = "SYNTHETIC EVALUATION: a language model wrote all"
    assert loud in capsys.readouterr().out
    page = read_page(str(tmp_path / "out"))
    assert page.index(f'<p class="notice">{loud}') < page.index("Worth a look")
    measured = str(tmp_path / "evaluation")
    evaluate(str(tiny_model), str(tmp_path / "out"), "test", measured, FAST, SHORT)
    assert storage.read_manifest(measured).facts["synthetic_evaluation"].startswith(loud)
    assert loud in (tmp_path / "evaluation" / "report.html").read_text()
    assert set(generated_by_split(DataSet.open(str(tmp_path / "out")).queries)) == {"train", "dev", "test"}
    # with evaluation data of people nothing is said of test
    human = _rows(tmp_path / "human.jsonl", 10, generated=False, word="human")
    prepare([written], [human], str(tmp_path / "other"), DataSettings.checked({"dev_share": 0}))
    assert "SYNTHETIC" not in capsys.readouterr().out


def test_marks_and_warnings() -> None:
    queries = pl.DataFrame({"fields": ["", None, generated_fields(style="x"), '{"origin": "a generated one"}']})
    assert is_generated(queries).to_list() == [False, False, True, False]
    assert is_generated(pl.DataFrame({"text": ["a", "b"]})).to_list() == [False, False]
    assert warning("test", 0, 5) == ""
    assert "all 5 test queries" in warning("test", 5, 5) and "2 of the 5" in warning("test", 2, 5)
