"""A model that is trained again and again: a tiny one, through kfp.local and a real S3 store."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.store.server import EmbeddedStore
from sharpen.registry import last_run, registry
from sharpen.store import storage
from tests.pipeline.local.test_run import ROOT, sharpen, write_examples

pytestmark = [pytest.mark.model, pytest.mark.store, pytest.mark.processes]

CHEAP = ["plan", "data-prep", "finish"]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder that holds a configuration as a schedule would have it, and the first night's data."""
    folder = tmp_path_factory.mktemp("every night")
    add_examples(folder, 240)
    (folder / "my.yaml").write_text(
        f"""
train_data: examples.jsonl
base_model: {tiny_model}
model_name: nightly
encoder: {{precision: fp32, query_max_len: 32, passage_max_len: 32}}
data: {{test_share: 0.25, dev_share: 0}}
mining: {{range_for_sampling: 1-40, negative_number: 4, relative_margin: null}}
training: {{train_group_size: 3, train_batch_size: 32, max_steps: 30, learning_rate: 0.01, temperature: 0.05}}
promotion: {{min_gain: 0.1, min_queries: 10}}
indexing: {{enabled: false}}
retraining: {{min_new_examples: 30, start_from: champion}}
job: {{processes: 1}}
"""
    )
    return folder


def add_examples(folder: Path, rows: int) -> None:
    """The first so many of a list that never changes, newest first, as an export that is sorted by date has them."""
    write_examples(folder / "all.jsonl", 400)
    lines = (folder / "all.jsonl").read_text().splitlines(keepends=True)[:rows]
    (folder / "examples.jsonl").write_text("".join(reversed(lines)))


@pytest.fixture(scope="module")
def store(workshop: Path) -> Iterator[str]:
    """The runs' embedded store, to look into; up during all of them."""
    with EmbeddedStore(workshop / ".sharpen" / "store") as embedded, pytest.MonkeyPatch.context() as patch:
        for name, value in embedded.env().items():
            patch.setenv(name, value)
        yield embedded.root


def steps(told: str) -> list[str]:
    """Names of the steps that were begun, as the screen heads them."""
    return re.findall(r"^ +\d+:\d\d  (.+)$", told, flags=re.MULTILINE)


def written(store: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """Address of the newest run's folder, and what its steps told KFP."""
    newest = max((folder / ".sharpen" / "runs").iterdir(), key=lambda path: path.stat().st_mtime)
    outputs = {path.parent.name: json.loads(path.read_text()) for path in newest.glob("kfp/*/*/executor_output.json")}
    return storage.join(store, "runs", newest.name), outputs


def overtaken_by(folder: Path, store: str, model: Path) -> str:
    """A folder for PYTHONPATH: as soon as a run's promotion starts, this model is promoted by somebody else."""
    with storage.publish(storage.join(store, "others", "finetuning"), producer="finetuning") as target:
        shutil.copytree(model, target, dirs_exist_ok=True)
    (folder / "overtaking").mkdir()
    (folder / "overtaking" / "sitecustomize.py").write_text(
        f"""import sys
if "promotion" in sys.orig_argv:
    sys.path.insert(0, {str(ROOT)!r})
    from sharpen.registry import registry
    if not registry.champion_address({store!r}, "nightly"):
        registry.register({store!r}, "nightly", {store!r} + "/others/finetuning", {{}}, run_id="another")
        registry.promote({store!r}, "nightly", "v0001", reason="was first")
"""
    )
    return str(folder / "overtaking")


def test_nights_of_retraining(workshop: Path, store: str, tiny_model: Path) -> None:
    # night 1: nothing is known, so it trains, and from the base model, as there is no champion. While it does, another
    # run's model, no better than the base model, becomes the champion: the model is compared with it too
    first = sharpen(workshop, "run", "--config", "my.yaml", PYTHONPATH=overtaken_by(workshop, store, tiny_model))
    assert first.returncode == 0, first.stdout + first.stderr
    assert "compare again: v0001 is the champion, but the evaluation compared with the base model only" in first.stdout
    assert steps(first.stdout)[-4:] == ["evaluation-2", "promotion-2", "indexing-2", "finish"]
    run, _ = written(store, workshop)
    compared = storage.read_json(f"{run}/evaluation-tuned-2/comparison.json")["against"]
    assert compared["champion"]["model"].endswith("/versions/v0001") and "base" in compared
    assert "no earlier run of this model has finished" in first.stdout
    assert re.search(r"champion: none yet; training starts from /.*tiny-bert", first.stdout)
    assert "nightly: promoted as v0002" in first.stdout
    record = last_run.read(store, "nightly")
    assert record is not None and (record.version, record.seen.count) == ("v0002", 240)
    champion = registry.show(store, "nightly")

    # night 2: some rows more, too few
    add_examples(workshop, 260)
    second = sharpen(workshop, "run", "--config", "my.yaml")
    assert second.returncode == 0, second.stdout + second.stderr
    assert steps(second.stdout) == CHEAP
    said = "skipped: 20 new examples since v0002, min_new_examples is 30"
    # data_prep, the finish and the summary say so
    assert second.stdout.count(said) == 3 and f"nightly: {said}" in second.stdout
    assert f"Model:  the champion stays {champion.address}" in second.stdout
    _, outputs = written(store, workshop)
    (card,) = outputs["data-prep"]["artifacts"]["prepared_data"]["artifacts"]
    assert {"examples": 260, "new_examples": 20, "gone_examples": 0}.items() <= card["metadata"].items()
    noted = last_run.read(store, "nightly")
    assert noted is not None and noted.seen == record.seen and noted.skipped["reason"] == said
    assert registry.show(store, "nightly") == champion

    # the same once more: what held too little is not prepared again
    repeated = sharpen(workshop, "run", "--config", "my.yaml")
    assert repeated.returncode == 0 and said in repeated.stdout, repeated.stdout + repeated.stderr
    _, outputs = written(store, workshop)
    assert outputs["plan"]["parameterValues"]["train_data"] == ""

    # night 3: other settings than the last run that finished; it goes on from the champion and must beat it, which is
    # measured as it was trained, whatever this run sets
    add_examples(workshop, 280)
    foreign = ("--set", "encoder.query_instruction_for_retrieval=old river:")
    third = sharpen(workshop, "run", "--config", "my.yaml", *foreign)
    assert third.returncode == 3, third.stdout + third.stderr
    assert "the settings changed since v0002" in third.stdout
    run, _ = written(store, workshop)
    training = storage.read_json(f"{run}/finetuning/training.json")
    assert training["base_model"] == champion.address
    assert storage.read_json(f"{run}/hard_negatives/report.json")["model"] == champion.address
    assert storage.read_manifest(f"{run}/evaluation-before/base").facts["model"].endswith("tiny-bert")
    comparison = storage.read_json(f"{run}/evaluation-tuned/comparison.json")["against"]
    assert comparison["champion"]["model"] == champion.address and "base" in comparison
    champions = storage.read_json(f"{run}/evaluation-before/champion/facts.json")["encoding"]
    assert list(champions["query_prompts"]) == [""] and champions["settings_of"] == "model"
    tuned = storage.read_json(f"{run}/evaluation-tuned/facts.json")["encoding"]
    assert list(tuned["query_prompts"]) == ["old river:"]
    assert re.search(r"nightly: not promoted; nDCG@10 .*: gain ", third.stdout)

    # night 4: the same data, which the gate has said no to
    fourth = sharpen(workshop, "run", "--config", "my.yaml", *foreign)
    assert fourth.returncode == 0, fourth.stdout + fourth.stderr
    assert steps(fourth.stdout) == CHEAP
    assert re.search(r"skipped: 0 new examples since run nightly-\S+, which was not promoted, min_new", fourth.stdout)
    assert registry.show(store, "nightly") == champion
