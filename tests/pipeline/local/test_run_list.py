"""`sharpen runs list` over a registry with decisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.command_line import run
from pipeline.cli import app
from pipeline.local.run_list import differing
from sharpen.registry.decisions import Record
from sharpen.store import storage


def asked(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        run(lambda: app(list(arguments)), "sharpen")
    assert ended.value.code in (0, None)


def test_only_settings_that_differ_are_shown() -> None:
    one = {"training": {"temperature": 0.02, "max_steps": 5}, "mining": {"range_for_sampling": "1-40"}}
    two = {"training": {"temperature": 0.05, "max_steps": 5}, "encoder": {"precision": "fp32"}}
    assert differing([one, two]) == [
        "mining.range_for_sampling=1-40 training.temperature=0.02",
        "encoder.precision=fp32 training.temperature=0.05",
    ]
    assert differing([one, one]) == ["", ""]
    assert differing([]) == []


def test_the_list_has_verdict_dev_and_differing_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "registry"
    root.mkdir()
    asked("runs", "list", "--store", str(root))
    assert "no runs yet" in capsys.readouterr().out
    for number, (model, verdict, dev) in enumerate(
        [("a", "promote", {"base": 0.4, "candidate": 0.512}), ("a", "cannot tell", {}), ("b", "reject", {})]
    ):
        made = Record(
            model,
            f"run-{number}",
            f"2026-01-0{number + 1}T10:00:00+00:00",
            verdict,
            ["why"],
            "e",
            "ndcg_at_10",
            {},
            dev,
            0,
            {"training": {"max_steps": number}},
        )
        storage.write_json(str(root / "decisions" / "set" / f"{verdict}-{number}.json"), vars(made))
    asked("runs", "list", "a", "--store", str(root))
    told = capsys.readouterr().out
    first, second = (line for line in told.splitlines() if line.startswith("a "))
    assert first.split() == "a run-0 2026-01-01 10:00 promote ndcg_at_10 0.400 0.512 training.max_steps=0".split()
    assert "cannot tell" in second and "training.max_steps=1" in second
    assert "have no dev split" in told and "reject" not in told
