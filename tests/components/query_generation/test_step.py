"""The step between its KFP face and the library, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.query_generation.__main__ import command
from components.query_generation.step import run_step
from sharpen.data.dataset import DataSet
from sharpen.errors import InputError
from tests.sharpen.generation.conftest import TOPICS, documents, model  # noqa: F401 - fixtures
from tests.sharpen.generation.language_model import LanguageModel


def test_step_that_is_not_wanted_hands_on_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    result = run_step("nowhere", "a.jsonl", "", "no model", "{}", "{}")
    assert (result.written.address, result.train_data) == ("", "a.jsonl")
    assert "nothing to do" in capsys.readouterr().out
    for settings in ('{"enabled": true}', '{"enabled": true, "documents": "d", "endpoint": "ftp://x"}'):
        with pytest.raises(InputError, match=r"generation\.(documents|endpoint)"):
            run_step("nowhere", "", "", "", settings, "{}")


def test_queries_become_a_source(model: LanguageModel, documents: Path, tmp_path: Path) -> None:  # noqa: F811
    mine = tmp_path / "mine.jsonl"
    mine.write_text(json.dumps({"query": "how is it here", "pos": ["A passage of mine"]}) + "\n")
    values = {"enabled": True, "documents": str(documents), "endpoint": model.url, "round_trip_top": 0}
    values |= {"journal": str(tmp_path / "journal"), "styles": ["question"]}
    for eval_data, shown in (("", 0), ("test.jsonl", 1)):
        address = str(tmp_path / f"out{shown}")
        result = run_step(address, str(mine), eval_data, "no model", json.dumps(values), "{}")
        assert json.loads(result.train_data) == [str(mine), {"address": address, "name": "generated"}]
        assert result.written.facts["model"] and "Generated queries" in result.written.page
        # training queries are examples only where none of them can become a test query
        assert model.bodies[-1]["messages"][1]["content"].count("how is it here") == shown


def test_command_writes_and_says_what_comes_next(
    model: LanguageModel,  # noqa: F811
    documents: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    options = ["--documents", str(documents), "--output", str(out), "--endpoint", model.url, "--styles", "keyword"]
    options += ["--journal", str(tmp_path / "journal"), "--max-passages", "3"]
    command.main(args=options, standalone_mode=False)
    assert DataSet.open(str(out)).queries.height == 3 < len(TOPICS)
    printed = capsys.readouterr().out
    assert "3 of 3 queries accepted" in printed and "next: python -m components.data_prep" in printed
