"""The step under Kubeflow Pipelines' own local runner."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from kfp import local

from components.evaluation.component import evaluation, evaluation_before
from components.evaluation.step import Measurement, measure_before
from sharpen.errors import InputError
from sharpen.store import storage
from tests.sharpen.evaluation.test_evaluate import write_beir


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """kfp.local in this interpreter's environment; bulk output goes to the run's folder."""
    monkeypatch.setenv("SHARPEN_RUN", str(tmp_path / "runs" / "one"))
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "kfp"))
    return tmp_path


def measured(data, **others):
    settings = json.dumps({"resamples": 100})
    encoder = json.dumps({"query_max_len": 16, "passage_max_len": 24})
    return {"data": data, "split": "test", "settings": settings, "encoder": encoder, "fingerprint": "", **others}


def run(model, data, **others):
    arguments = {"base": "", "champion": "", "negatives": "", "without": ""}
    return evaluation(model=model, **(arguments | measured(data) | others))


def test_a_fault_of_the_user_fails_the_step_without_a_traceback(runner, capfd):
    with pytest.raises(RuntimeError):
        run("no-model", str(runner / "nowhere"), settings='{"cutof": [1]}')
    said = capfd.readouterr()
    assert "evaluation.cutof: unknown setting; did you mean cutoffs?" in said.out + said.err
    assert "Traceback" not in said.out + said.err


def test_slices_that_the_data_do_not_have_are_told_before_anything_is_trained(tmp_path):
    data = str(write_beir(tmp_path / "data", queries=10, passages=60))
    measurement = Measurement.from_json(data, "test", '{"slices": ["fields.country"]}', "{}")
    with pytest.raises(InputError, match=r"evaluation.slices: (no query of|the queries of) .*/data"):
        measure_before(str(tmp_path / "out"), measurement, "no-model", "")


@pytest.mark.model
def test_before_then_tuned_then_with_a_new_champion(runner, tiny_model):
    data = str(write_beir(runner / "data", queries=10, passages=60))
    settings = json.dumps({"resamples": 100, "systems": ["bm25", "fusion"], "judge_pairs": 5, "guard_data": data})
    before = evaluation_before(base_model=str(tiny_model), champion_model="", **measured(data, settings=settings))
    systems = before.outputs["systems"]
    bm25 = str(runner / "runs" / "one" / "evaluation-before" / "systems" / "bm25")
    # what needs no tuned model is measured once; what does, when there is one
    assert json.loads(systems) == {"bm25": bm25} and storage.is_complete(bm25)
    assert not (Path(before.outputs["base"]) / "judge.csv").exists()
    address = before.outputs["base"]
    assert address == str(runner / "runs" / "one" / "evaluation-before" / "base")
    assert storage.is_complete(address) and before.outputs["champion"] == ""
    # no page for a champion that does not exist
    report = Path(before.outputs["before_report"].path)
    assert report.read_bytes() == (Path(address) / "report.html").read_bytes()

    tuned = run(str(tiny_model), data, name="evaluation-tuned", base=address, systems=systems, settings=settings)
    assert tuned.outputs["tuned_evaluation"].metadata["split"] == "test"
    folder = runner / "runs" / "one"
    against = json.loads((folder / "evaluation-tuned" / "comparison.json").read_text())["against"]
    assert {name: one["reference"] for name, one in against.items()} == {
        "base": address,
        "bm25": bm25,
        "fusion": str(folder / "evaluation-tuned-systems" / "fusion"),
    }
    assert list(json.loads((folder / "evaluation-tuned" / "guard.json").read_text())["against"]) == ["base"]
    assert (folder / "evaluation-tuned" / "judge.csv").is_file()

    again = run(str(tiny_model), data, name="again", base=address, new_champion=str(tiny_model))
    against = json.loads((Path(again.outputs["Output"]) / "comparison.json").read_text())["against"]
    assert set(against) == {"base", "champion"}
    assert storage.is_complete(str(folder / "again-champion"))


@pytest.mark.model
def test_a_champion_is_measured_beside_the_base_model(runner, tiny_model):
    data = str(write_beir(runner / "data", queries=10, passages=60))
    before = evaluation_before(base_model=str(tiny_model), champion_model=str(tiny_model), **measured(data))
    champion = before.outputs["champion"]
    assert storage.is_complete(champion) and champion != before.outputs["base"]
    report = Path(before.outputs["before_report"].path)
    assert report.read_bytes() == (Path(champion) / "report.html").read_bytes()


@pytest.mark.parametrize("component", [evaluation, evaluation_before])
def test_the_body_is_short_and_the_help_is_whole(component):
    source = inspect.getsource(component.python_func)
    body = source.split('"""')[2].strip().splitlines()
    assert len([line for line in body if line.strip()]) <= 15
    inputs = component.component_spec.inputs
    assert inputs is not None
    assert all(spec.description for spec in inputs.values())
