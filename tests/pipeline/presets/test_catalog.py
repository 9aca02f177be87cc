"""Presets as files, as a layer of the settings, and on their way through a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.command_line import run as run_with_exit_code
from pipeline.cli import app
from pipeline.parameters import load
from pipeline.presets.catalog import NAMES, explanation, flat, preset_text, read_preset
from pipeline.run_form import input_name, run_inputs, settings_of
from sharpen.errors import InputError
from sharpen.jobs.settings import JobSettings
from tests.crd_schema import crd_faults, crd_file
from tests.pipeline.test_plan import inputs, planned, refused  # noqa: F401 - a fixture among them
from tests.sharpen.jobs.manifests import manifest

NEEDED = {"no-labels": ["generation.documents=docs", "store=s3://b"]}


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        run_with_exit_code(lambda: app(list(arguments)), "sharpen")
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_explained_in_ten_lines_and_valid(name: str) -> None:
    lines = explanation(name)
    assert len(lines) == 10
    assert lines[0][0] == "When" and {"What", "Cost", "Watch"} & {subject for subject, _ in lines}
    assert any(subject == "Cost" for subject, _ in lines) and all(text for _, text in lines)
    settings = load(preset=name)
    assert settings.preset == name and name in settings.preset_note
    for setting, value in flat(read_preset(name)).items():
        group, _, field = setting.rpartition(".")
        owner: Any = getattr(settings, group) if group else settings
        assert json.loads(json.dumps(getattr(owner, field))) == value, setting


def test_every_file_is_a_preset() -> None:
    folder = Path(__file__).parents[3] / "pipeline" / "presets"
    assert {file.stem for file in folder.glob("*.yaml")} == {*NAMES}


def test_a_preset_stands_over_the_defaults_and_below_all_else(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("preset: hundreds\ntraining: {eval_steps: 7}\n")
    assert load().training.early_stopping_patience == 0
    settings = load(file, ["training.train_batch_size=8"])
    chosen = settings.training.early_stopping_patience, settings.training.eval_steps, settings.training.train_batch_size
    assert chosen == (5, 7, 8)
    # the option stands over the key of the file, and a setting over the key of another file
    assert load(file, preset="code").encoder.passage_max_len == 512
    assert load(file, ["preset=code"]).preset == "code"
    assert load(None, [], {"preset": "code"}).preset == "code"


def test_an_unknown_preset_is_one_line_with_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ("run", "--preset", "hundred"),
        ("presets", "show", "hundred"),
        ("run", "--set", "preset=hundred"),
    ):
        code, _, told = asked(capsys, *arguments)
        assert code == 2 and len(told.splitlines()) == 1
        assert ", ".join(NAMES) in told and "did you mean hundreds?" in told


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_arrives_in_the_run_as_it_was_composed(name: str) -> None:
    # a field of the form set back to its default must stay so, too
    settings = load(
        None, [*NEEDED.get(name, []), "training.learning_rate=2e-5", "training.num_train_epochs=2"], preset=name
    )
    arrived = settings_of(json.loads(json.dumps(run_inputs(settings))))
    assert arrived.model_dump() == settings.model_dump()
    assert arrived.preset == json.loads(arrived.given_json())["preset"] == name
    assert input_name("preset") not in run_inputs(settings)
    plain = load(None, NEEDED.get(name, []), read_preset(name))
    named = load(None, NEEDED.get(name, []), preset=name)
    assert plain.results_hash(1) == named.results_hash(1), "a name changes no result"


def test_a_name_alone_in_overrides_is_refused() -> None:
    given = {"preset": "code", "training.eval_steps": 25}
    with pytest.raises(InputError, match=r"preset code is a name only, .*sharpen submit --preset code"):
        settings_of({"overrides": given})
    with pytest.raises(InputError, match=r"preset: unknown; known: auto, hundreds"):
        settings_of({"overrides": {"preset": "auto"}})


def test_the_plan_page_and_the_record_show_it(tmp_path: Path, inputs: dict[str, Any]) -> None:  # noqa: F811
    chosen = settings_of(inputs)
    given = [f"train_data={chosen.train_data}", f"base_model={chosen.base_model}", f"store={chosen.store}"]
    found = planned(tmp_path, run_inputs(load(None, given, preset="hundreds")))
    page = (tmp_path / "page.md").read_text()
    assert ">preset<" in page and ">hundreds<" in page and "training.early_stopping_patience" in page
    assert json.loads(found["run_settings"])["preset"] == "hundreds"


def test_the_commands_list_and_show_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, told, _ = asked(capsys, "presets")
    assert code == 0 and [line.split()[0] for line in told.splitlines() if line[:1].strip()][1 : len(NAMES) + 2] == [
        "auto",
        *NAMES,
    ]
    code, told, _ = asked(capsys, "presets", "show", "millions")
    assert code == 0 and told.strip() == preset_text("millions").strip()
    (tmp_path / "mine.yaml").write_text(told)
    assert load(tmp_path / "mine.yaml").job == load(preset="millions").job


def test_millions_is_a_job_of_several_nodes_that_the_operator_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = load(preset="millions").job
    made = manifest("pytorchjob", job.model_dump(mode="json", exclude_unset=True))
    workers = made["spec"]["pytorchReplicaSpecs"]["Worker"]
    assert workers["replicas"] == 4 and made["spec"]["nprocPerNode"] == "8"
    resources = workers["template"]["spec"]["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == "8" and resources["limits"]["memory"] == "256Gi"
    assert crd_faults(crd_file("pytorchjob-v1.9.4.crd.yaml"), made) == []
    assert JobSettings.checked(job.model_dump()).nodes == 4
    output = tmp_path / "pipeline.yaml"
    image = "registry.example/sharpen:1"
    code, _, told = asked(
        capsys, "compile", "--preset", "millions", "--image", image, "-o", str(output), "--set", "store=s3://b"
    )
    assert code == 0 and "preset millions (its settings: sharpen presets show millions)" in told
    documents = list(yaml.safe_load_all(output.read_text()))
    defaults = {
        name: one.get("defaultValue") for name, one in documents[0]["root"]["inputDefinitions"]["parameters"].items()
    }
    assert (defaults["job_nodes"], defaults["job_gpus_per_node"]) == (4, 8)
    assert defaults["overrides"]["preset"] == "millions"
    limits = json.dumps(documents[0]["deploymentSpec"])
    assert '"memoryLimit"' in limits or "resourceMemoryLimit" in limits
