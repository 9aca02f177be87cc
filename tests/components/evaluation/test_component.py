"""The step under Kubeflow Pipelines' own local runner."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from kfp import local

from components.evaluation.component import evaluation
from sharpen.store import storage
from tests.sharpen.evaluation.test_evaluate import write_beir


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """kfp.local in this interpreter's environment; bulk output goes to the run's folder."""
    monkeypatch.setenv("SHARPEN_RUN", str(tmp_path / "runs" / "one"))
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "kfp"))
    return tmp_path


def run(model, data, **others):
    settings = json.dumps({"resamples": 100})
    encoder = json.dumps({"query_max_len": 16, "passage_max_len": 24})
    arguments = {"split": "test", "settings": settings, "encoder": encoder, "fingerprint": "", "base": ""}
    return evaluation(model=model, data=data, **(arguments | {"champion": "", "negatives": ""} | others))


def test_without_a_model_there_is_nothing_to_evaluate(runner):
    task = run("", "nowhere")
    assert task.outputs["Output"] == ""
    assert not (runner / "runs").exists()


def test_a_fault_of_the_user_fails_the_step_without_a_traceback(runner, capfd):
    with pytest.raises(RuntimeError):
        run("no-model", str(runner / "nowhere"), settings='{"cutof": [1]}')
    said = capfd.readouterr()
    assert "evaluation.cutof: unknown setting; did you mean cutoffs?" in said.out + said.err
    assert "Traceback" not in said.out + said.err


@pytest.mark.model
def test_base_then_tuned(runner, tiny_model):
    data = str(write_beir(runner / "data", queries=10, passages=60))
    base = run(str(tiny_model), data, name="evaluation-base")
    address = base.outputs["Output"]
    assert address == str(runner / "runs" / "one" / "evaluation-base")
    assert storage.is_complete(address)
    assert base.outputs["evaluation"].uri == address
    assert base.outputs["evaluation"].metadata["split"] == "test"
    metrics = json.loads((Path(address) / "metrics.json").read_text())
    assert base.outputs["metrics"].metadata["ndcg_at_10"] == pytest.approx(metrics["ndcg_at_10"])
    assert Path(base.outputs["report"].path).read_bytes() == (Path(address) / "report.html").read_bytes()
    tuned = run(str(tiny_model), data, name="evaluation-tuned", base=address)
    assert tuned.outputs["metrics"].metadata["ndcg_at_10_minus_base"] == 0
    assert (runner / "runs" / "one" / "evaluation-tuned" / "comparison.json").is_file()


def test_the_body_is_short_and_the_help_is_whole():
    source = inspect.getsource(evaluation.python_func)
    body = source.split('"""')[2].strip().splitlines()
    assert len([line for line in body if line.strip()]) <= 15
    inputs = evaluation.component_spec.inputs
    assert inputs is not None
    assert all(spec.description for spec in inputs.values())
