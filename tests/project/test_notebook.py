"""The notebook of the documentation: its cells run one after the other, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.project.words import ROOT

NOTEBOOK = json.loads((ROOT / "docs/quickstart.ipynb").read_text(encoding="utf-8"))
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


@pytest.mark.model
def test_the_cells_run_in_order(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QUICKSTART_MODEL", str(tiny_model))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names: dict[str, object] = {}
    for number, source in enumerate(CELLS):
        exec(compile(source, f"quickstart.ipynb, code cell {number}", "exec"), names)
    printed = capsys.readouterr().out
    assert "'train': 42, 'test': 18" in printed
    assert "report: report.html" in printed
    (model,) = tmp_path.glob("quickstart-*/model")
    assert (model / "model.safetensors").exists()


def test_it_is_a_notebook_of_version_4_with_an_id_on_every_cell() -> None:
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    identifiers = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(set(identifiers)) == len(identifiers)
    assert {cell["cell_type"] for cell in NOTEBOOK["cells"]} == {"code", "markdown"}
