"""The step between its KFP face and the library, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.teachers.__main__ import command
from components.teachers.component import teachers
from components.teachers.step import run_step
from sharpen.data.dataset import NEGATIVES, read_table
from sharpen.errors import InputError
from sharpen.run_context import RUN_VARIABLE
from tests.sharpen.teachers.small import MINED, written


def test_faults_name_the_setting() -> None:
    for settings, words in (
        ("{}", r"teachers\.cross_encoder: no teacher is named; set teachers\.cross_encoder"),
        ('{"endpoint": "http://h/v1"}', r"teachers\.: endpoint needs model|endpoint needs model"),
        ('{"margin": "wide"}', r"teachers\.margin"),
    ):
        with pytest.raises(InputError, match=words):
            run_step("nowhere", "d", "n", settings, "{}")


@pytest.mark.model
def test_component_and_command_write_the_same(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, mined = written(tmp_path)
    settings = json.dumps({"embedding_model": str(tiny_model), "enabled": True})
    monkeypatch.setenv(RUN_VARIABLE, str(tmp_path))
    card, page = (
        SimpleNamespace(uri=str(tmp_path / name), path=str(tmp_path / name), metadata={}) for name in ("card", "page")
    )
    address = teachers.python_func(
        data=data,
        negatives=mined,
        settings=settings,
        encoder='{"vector_cache": "off"}',
        fingerprint="",
        prepared_data=None,
        mined_negatives=None,
        scored_negatives=card,
        teachers_report=page,
        name="step",
    )
    assert address == str(tmp_path / "step") == card.metadata["address"]
    assert card.metadata["teachers"] == ["embedding_model"] and "Teacher scores" in Path(page.path).read_text()
    options = ["--data", data, "--negatives", mined, "--output", str(tmp_path / "command")]
    options += ["--embedding-model", str(tiny_model), "--vector_cache", "off"]
    command.main(args=options, standalone_mode=False)
    tables = [read_table(tmp_path / folder / "negatives", NEGATIVES) for folder in ("step", "command")]
    assert tables[0].equals(tables[1]) and tables[0].height == len(MINED)
    assert f"next: python -m components.finetuning --data {data} --negatives" in capsys.readouterr().out
    with pytest.raises(InputError, match="--cross_encoder: no teacher is named"):
        command.main(args=options[:6], standalone_mode=False)
