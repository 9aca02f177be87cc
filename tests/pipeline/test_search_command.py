"""`sharpen search` and `sharpen index` over a registry on disk, as a user starts them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from components.command_line import run
from pipeline.cli import app
from sharpen.registry import registry
from sharpen.store import storage
from tests.sharpen.index.corpora import passage, write_beir

ROOT = Path(__file__).parents[2]
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder with a registry of one model, promoted twice, and a corpus."""
    folder = tmp_path_factory.mktemp("a shop")
    write_beir(folder / "data")
    for number in (1, 2):
        model = str(folder / f"model-{number}")
        with storage.publish(model, producer="finetuning") as target:
            shutil.copytree(tiny_model, target, dirs_exist_ok=True)
            other = {name: value * (1 + number / 100) for name, value in load_file(target / WEIGHTS).items()}
            save_file(other, target / WEIGHTS, {"format": "pt"})
            encoder = {"precision": "fp32", "query_max_len": 24, "passage_max_len": 24 + number}
            (target / "training.json").write_text(json.dumps({"encoder": encoder}))
        facts = {"metrics": {}, "evaluation": str(folder / "evaluation")}
        version = registry.register(str(folder / "root"), "tiny", model, facts, run_id="run")
        registry.promote(str(folder / "root"), "tiny", version.version, reason="good")
    with storage.publish(str(folder / "evaluation"), producer="evaluation") as target:
        (target / "facts.json").write_text(json.dumps({"data": str(folder / "data")}))
    return folder


def here(shop: Path, *arguments: str) -> int:
    """The exit code of the command, run in this process; only the indexing step has one of its own."""
    before = Path.cwd()
    os.chdir(shop)
    try:
        run(lambda: app(list(arguments)), "sharpen")
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        os.chdir(before)
    return 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["search", "a town", "--store", "empty"], "nothing to search yet: no model was promoted"),
        (["search", "a town", "--store", "root", "--model", "tony"], "tony"),
        (
            ["search", "a town", "--store", "root"],
            "tiny: its champion v0002 has no index yet; make one: sharpen index tiny",
        ),
        (["search", " ", "--store", "root"], "the query is empty"),
        (["index", "--store", "empty"], "nothing to search yet"),
        (["index", "--store", "root", "--set", "indexing.dim=9"], "indexing.dim: unknown setting"),
    ],
)
def test_what_cannot_be_searched_is_one_line(
    shop: Path, arguments: list[str], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (shop / "empty").mkdir(exist_ok=True)
    assert here(shop, *arguments) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ") and told in error and len(error.splitlines()) == 1


@pytest.mark.model
@pytest.mark.processes
def test_index_then_search_then_roll_back(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert here(shop, "index", "--store", "root", "--set", "indexing.vector_precision=fp16") == 0
    index = shop / "root" / "models" / "tiny" / "indexes" / "v0002"
    manifest = json.loads((index / "manifest.json").read_text())
    assert manifest["model"]["encoder"]["passage_max_len"] == 26  # as it was trained
    assert manifest["embeddings"]["precision"] == "fp16"
    capfd.readouterr()

    text = passage(30)["text"]
    assert here(shop, "search", text, "--store", "root", "--top", "2", "--json", "--model", "tiny") == 0
    printed = capfd.readouterr()
    answer = json.loads(printed.out)
    assert (len(answer["hits"]), answer["query"], printed.err) == (2, text, "")
    table = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "search", text, "--store", "root", "--index", str(index), "-k", "2"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"},
        cwd=shop,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert table.returncode == 0, table.stderr
    assert [hit["passage_id"] in table.stdout for hit in answer["hits"]] == [True, True]

    root = str(shop / "root")
    registry.rollback(root, "tiny")
    assert here(shop, "search", text, "--store", "root") == 2
    assert "champion v0001 has no index yet" in capfd.readouterr().err
    registry.promote(root, "tiny", "v0002", reason="again")


@pytest.mark.model
@pytest.mark.processes
def test_a_fault_of_the_step_is_passed_on(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert here(shop, "index", "tiny", "--store", "root", "--set", "indexing.truncate_dim=99") == 2
    assert capfd.readouterr().err == "error: truncate_dim 99: the model's embeddings have 32 dimensions\n"
