"""The step as kfp.local runs it, from settings to page, and its command line."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from components.command_line import main
from components.merging.__main__ import command
from components.merging.component import merging
from components.merging.step import run_step
from sharpen.data.dataset import DataSet
from sharpen.errors import InputError
from sharpen.models.encoder import Encoder
from sharpen.run_context import RUN_VARIABLE
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from tests.sharpen.training.small_data import small_data


@pytest.fixture(scope="module")
def tuned(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as fine-tuning writes it, of weights twice those of the tiny one."""
    encoder = Encoder.load(str(tiny_model), EncoderSettings.checked({"query_max_len": 16}))
    for weight in encoder.parameters():
        weight.data *= 2
    folder = tmp_path_factory.mktemp("tuned") / "model"
    encoder.save(folder)
    return folder


@pytest.mark.model
def test_the_component_searches_and_says_what_it_took(
    tiny_model: Path, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with storage.publish(str(tmp_path / "data"), producer="data_prep") as folder:
        small_data().save(folder)
    monkeypatch.setenv(RUN_VARIABLE, str(tmp_path / "run"))
    model, page = (
        SimpleNamespace(uri=str(tmp_path / name), path=str(tmp_path / name), metadata={}) for name in ("model", "page")
    )
    address = merging.python_func(
        model=str(tuned),
        base_model=str(tiny_model),
        data=str(tmp_path / "data"),
        settings=json.dumps({"search_weights": [0.5], "rule": "mean"}),
        evaluation=json.dumps({"resamples": 100, "guard_data": str(tmp_path / "data"), "systems": ["bm25"]}),
        encoder=json.dumps({"precision": "fp32", "query_max_len": 8}),
        fingerprint="",
        tuned_model=SimpleNamespace(metadata={"logs": "s3://logs"}),
        prepared_data=None,
        merged_model=model,
        merging_page=page,
    )
    facts = storage.read_json(storage.join(address, "merging.json"))
    assert storage.is_complete(address) and facts["weight"] in (0, 0.5, 1)
    # how texts are embedded is the tuned model's to say
    assert facts["usages"][str(tuned)]["max_lengths"]["query"] == 16
    assert model.metadata["tuned_model"] == str(tuned) and model.metadata["base_model"] == str(tiny_model)
    assert (model.metadata["weight"], model.metadata["logs"]) == (facts["weight"], "s3://logs")
    assert model.metadata["merged"] is True
    assert "Gain and forgetting by weight" in Path(page.path).read_text()


@pytest.mark.model
@pytest.mark.parametrize("settings", [{}, {"enabled": True}, {"weights": [0.5]}])
def test_without_dev_queries_a_run_that_did_not_ask_goes_on(
    settings: dict[str, object], tiny_model: Path, tuned: Path, tmp_path: Path
) -> None:
    rows = small_data()
    queries, qrels = (table.filter(pl.col("split") == "train") for table in (rows.queries, rows.qrels))
    with storage.publish(str(tmp_path / "data"), producer="data_prep") as folder:
        DataSet(rows.corpus, queries, qrels).save(folder)
    given = {"settings": json.dumps(settings), "evaluation": "{}", "encoder": "{}", "logs": ""}
    addresses = (str(tuned), str(tiny_model), str(tmp_path / "data"), str(tmp_path / "model"))
    if "enabled" in settings:
        with pytest.raises(InputError, match=r"no dev queries.*set merging\.weights, or data\.dev_share"):
            run_step(*addresses, **given)
        return
    result = run_step(*addresses, **given)
    same = (tmp_path / "model" / "model.safetensors").read_bytes() == (tuned / "model.safetensors").read_bytes()
    # a weight that is given needs no search
    assert result.facts["merged"] == (settings != {}) and same == (settings == {})
    assert ("no dev queries" in result.page) == (settings == {})


@pytest.mark.model
def test_the_command(tiny_model: Path, tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--base", str(tiny_model), "--weights", "0.25", "--output", str(tmp_path / "out")]
    main(command, ["--models", str(tuned), "--page", str(tmp_path / "page.html"), *given])
    out = capsys.readouterr().out
    assert f"0.75 x base {tiny_model} + 0.25 x tuned {tuned}" in out and "next    python -m" in out
    assert "Interpolation" in (tmp_path / "page.html").read_text()


def test_faults_of_the_step_s_settings_are_lines() -> None:
    for settings, fault in (
        ({"models": "a,b"}, "merging: models: interpolation has one tuned model"),
        ({"method": "average", "models": ["a"], "weights": [1]}, "weights: 2 needed"),
        ({"weight": 1}, "merging.weight: unknown setting; did you mean weights?"),
    ):
        with pytest.raises(InputError) as raised:
            run_step("m", "b", "d", "o", settings=json.dumps(settings), evaluation="{}", encoder="{}", logs="")
        assert fault in str(raised.value).replace("merging.: ", "merging: ")
