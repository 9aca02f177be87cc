"""The whole pipeline in containers of the images, beside the same in processes: a tiny model, a real S3 store."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sharpen.store import storage
from tests.images.engine import Engine
from tests.pipeline.local.runs import sharpen, write_examples

pytestmark = [pytest.mark.images, pytest.mark.model, pytest.mark.store, pytest.mark.processes]


@pytest.fixture(scope="module")
def host(engine: Engine) -> Iterator[str]:
    with engine.service() as address:
        yield address


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A working folder, with a space in its name."""
    folder = tmp_path_factory.mktemp("a workshop")
    write_examples(folder / "examples.jsonl")
    (folder / "my.yaml").write_text(
        f"""
train_data: examples.jsonl
base_model: {tiny_model}
encoder: {{precision: fp32, query_max_len: 32, passage_max_len: 32}}
data: {{test_share: 0.25, dev_share: 0.1}}
mining: {{range_for_sampling: 1-40, negative_number: 4, relative_margin: null}}
training: {{train_group_size: 3, train_batch_size: 32, max_steps: 30, learning_rate: 0.01, temperature: 0.05}}
promotion: {{min_queries: 10}}
merging: {{enabled: false}}
job: {{processes: 1, threads: 1}}
"""
    )
    return folder


def results(store: str, name: str) -> dict[str, Any]:
    """What a run left in the store: data set, negatives, weights and figures, by their content."""
    runs = {file.name.partition("/")[0] for file in storage.list_files(f"{store}/runs")}
    (run,) = (run for run in runs if run.startswith(f"{name}-2"))
    markers = {step: storage.read_manifest(f"{store}/runs/{run}/{step}") for step in ("hard_negatives", "finetuning")}
    files = {step: {file["name"]: file["sha256"] for file in marker.files} for step, marker in markers.items()}
    return {
        "negatives": {name: sha for name, sha in files["hard_negatives"].items() if name.endswith(".parquet")},
        "weights": files["finetuning"]["model.safetensors"],
        "metrics": storage.read_json(f"{store}/runs/{run}/evaluation-tuned/metrics.json"),
        "base": storage.read_json(f"{store}/runs/{run}/evaluation-before/base/metrics.json"),
    }


def test_containers_give_what_processes_give(
    folder: Path, s3: str, host: str, engine: Engine, cpu_image: str, launcher_image: str
) -> None:
    store = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    run = ("run", "--config", "my.yaml", "--fresh", "--set", f"store={s3}")
    plain = sharpen(folder, *run, "--set", "model_name=plain", **store)
    assert plain.returncode == 0, plain.stdout + plain.stderr
    images = ("--image", cpu_image, "--launcher-image", launcher_image)
    contained = sharpen(folder, *run, "--set", "model_name=contained", *images, DOCKER_HOST=host, **store)
    assert contained.returncode == 0, contained.stdout + contained.stderr
    assert results(s3, "contained") == results(s3, "plain")

    def table(text: str) -> list[str]:
        return re.findall(r"^\S+@\d+ .*$", text, flags=re.MULTILINE)

    assert len(table(plain.stdout)) >= 5
    assert table(contained.stdout) == table(plain.stdout)
    assert engine("ps", "--all", "--quiet").stdout == ""


def test_a_step_in_a_container_tells_a_users_fault_as_one_line(
    folder: Path, s3: str, host: str, cpu_image: str
) -> None:
    store = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    run = ("run", "--config", "my.yaml", "--set", f"store={s3}", "--image", cpu_image, "--set", "train_data=none.jsonl")
    ended = sharpen(folder, *run, DOCKER_HOST=host, **store)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith("error: plan: train_data: none.jsonl")


def test_an_image_that_is_not_there_is_told_by_name(folder: Path, s3: str, host: str) -> None:
    store = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    run = ("run", "--config", "my.yaml", "--set", f"store={s3}", "--image", "localhost/sharpen-python-none:1")
    ended = sharpen(folder, *run, DOCKER_HOST=host, **store)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    (line,) = ended.stderr.strip().splitlines()
    assert "localhost/sharpen-python-none:1" in line
