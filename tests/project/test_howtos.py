"""The how-tos of CONTRIBUTING.md do what they say: their code is put where they say, and used."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import polars as pl
import pytest
import torch

from tests.project.words import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def module(title: str, name: str, into: ModuleType | None = None) -> Any:
    """The how-to's code as the module `name`, or run in the module `into`."""
    section = PAGE.partition(f"### {title}\n")[2].partition("\n### ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    made = into or ModuleType(name)
    exec(compile(code, f"CONTRIBUTING.md, {title}", "exec"), vars(made))
    return made


def test_a_data_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sharpen.data import readers
    from sharpen.data.readers import detect, formats

    added = module("A data format", "sharpen.data.readers.triples")
    for table in (formats, detect):
        monkeypatch.setattr(table, "FORMATS", (*formats.FORMATS, added.FORMAT))
    file = tmp_path / "my.triples"
    file.write_text("a question\tan answer\tno answer\nanother\tan answer\tother\n")
    data = readers.read_dataset(str(file))
    assert (data.queries.height, data.corpus.height, data.given_negatives.height) == (2, 3, 2)
    file.write_text("a question\tan answer\n")
    with pytest.raises(Exception, match=r"my\.triples.*line 1.*found 2, not 3"):
        readers.read_dataset(str(file))


def test_a_loss() -> None:
    from sharpen.losses import ScoreBlock

    loss = module("A loss", "sharpen.losses.hinge").Hinge(margin=1.0)
    scores = torch.tensor([[3.0, 2.5, 0.0], [0.5, 2.0, 4.0]], dtype=torch.float64, requires_grad=True)
    value = loss(ScoreBlock(scores, torch.tensor([[0], [1]])))
    expected = sum(
        max(0.0, s - row[p] + 1.0) for row, p in ((r, i) for i, r in enumerate(scores.tolist())) for s in row
    )
    assert value.item() == pytest.approx(expected - 2 * 1.0)
    assert torch.autograd.gradcheck(lambda s: loss(ScoreBlock(s, torch.tensor([[0], [1]]))), scores)


def test_a_chart_of_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    from sharpen.evaluation.report import figures

    monkeypatch.setattr(figures, "best_and_worst", None, raising=False)
    module("A chart of the report", "", into=figures)
    monkeypatch.setattr(figures, "FIGURES", {"scores": (figures.best_and_worst,)})  # pyright: ignore
    per_query = pl.DataFrame({"ndcg_at_10": [1.0, 0.0, 0.5, 0.0]})
    model = ("tuned", "tuned", SimpleNamespace(per_query=per_query))
    data: Any = SimpleNamespace(models=[model], settings=SimpleNamespace(primary_metric="ndcg_at_10"))
    ((figure,),) = figures.draw(data).values()
    assert "50" in str(figure.chart) and "nothing found" in str(figure.chart)


def test_a_check_of_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.doctor import run_checks
    from pipeline.parameters import load
    from tests.sharpen.jobs.fake_api import FakeApi

    name = "pipeline.doctor.checks.server_version"
    monkeypatch.setitem(sys.modules, name, module("A check of doctor", name))
    monkeypatch.setattr(run_checks, "CHECKS", ("server_version",))
    with FakeApi() as api:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path, "kubeflow")))
        _, finding = run_checks.run_checks(run_checks.context_for(load()))
    assert (finding.check, finding.state) == ("server version", "pass")
