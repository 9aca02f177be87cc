"""`sharpen explain`: which run is meant, what a terminal of 80 columns shows, and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.command_line import run as run_with_exit_code
from pipeline.cli import app
from pipeline.parameters import setting_field
from sharpen.registry.decisions import Record
from sharpen.store import storage

METRIC = {"reference": 0.6, "candidate": 0.61, "difference": 0.01, "ci_low": -0.05, "ci_high": 0.07, "p_value": 0.7}


def explained(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        run_with_exit_code(lambda: app(["explain", *arguments]), "sharpen")
    assert (ended.value.code or 0) == code
    said = capsys.readouterr()
    return said.err if code else said.out


def write(address: str, **files: Any) -> str:
    with storage.publish(address, producer="test", rows={}) as folder:
        for name, value in files.items():
            (folder / f"{name}.json").write_text(json.dumps(value))
    return address


@pytest.fixture
def registry(tmp_path: Path) -> str:
    """Two runs of one model whose test is too small to tell; the artifacts of its training are gone."""
    root = str(tmp_path / "store")
    base = write(f"{root}/runs/base", facts={"model": "m", "encoding": {}})
    for number in (1, 2):
        against = {"base": {"reference": base, "metrics": {"ndcg_at_10": METRIC | {"queries": 30, "groups": 20}}}}
        comparison = {"primary_metric": "ndcg_at_10", "confidence_level": 0.95, "against": against}
        facts = {"model": f"{root}/runs/model", "data": f"{root}/runs/data", "split": "test", "queries": 30}
        run = f"help-2026010{number}-100000-abcd"
        address = write(
            f"{root}/runs/{run}/evaluation", facts=facts, metrics={"ndcg_at_10": 0.61}, comparison=comparison
        )
        made = Record(
            "help", run, f"2026-01-0{number}", "reject", ["gain: too \x1b[1msmall"], address, "ndcg_at_10", {}
        )
        storage.write_json(f"{root}/decisions/set/reject-{number}.json", vars(made))
    return root


def test_a_run_is_known_by_id_beginning_model_and_address(registry: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (f"help-2026010{number}-100000-abcd" for number in (1, 2))
    address = f"{registry}/runs/{first}/evaluation"
    for asked, run in (("", second), ("help", second), (first, first), ("help-20260101", first), (address, None)):
        found = json.loads(explained(capsys, *([asked] if asked else []), "--store", registry, "--json"))
        assert (found.get("run"), found["evaluation"].split("/")[-2]) == (run, run or first)
    (finding, *_) = found["findings"]
    assert finding["cause"] == "too few test queries to tell" and finding["figures"]["queries_needed"] == 1080


def test_the_terminal_has_causes_figures_and_the_next_command(
    registry: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = explained(capsys, "help", "--store", registry)
    assert max(map(len, told.splitlines())) <= 80 or "not looked at" in told
    assert told.startswith("help-20260102-100000-abcd: reject\n  - gain: too \\x1b[1msmall\n")
    flat = " ".join(told.split())
    assert "The model is no different from the base model: nDCG@10 0.600 -> 0.610" in flat
    assert "What makes the figures doubtful" in flat and "certain" in flat
    for gone in ("training.json", "stats.json"):
        assert f"/{gone}" in told


def test_an_unknown_run_is_one_line_with_the_latest(
    registry: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = explained(capsys, "nothing", "--store", registry, code=2)
    assert len(said.splitlines()) == 1 and "nothing: no such run; the latest are help-20260102" in said
    (tmp_path / "empty").mkdir()
    assert "none has ended yet" in explained(capsys, "--store", str(tmp_path / "empty"), code=2)


def test_every_setting_that_causes_name_exists() -> None:
    import re

    causes = Path(__file__).parents[3] / "sharpen" / "diagnosis" / "causes"
    named = {name for file in causes.glob("*.py") for name in re.findall(r'Change\(\s*"([\w.]+)"', file.read_text())}
    assert len(named) > 15
    assert [name for name in named if setting_field(name) is None] == []
