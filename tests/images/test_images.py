"""The images, built from the project's Dockerfile and run with the rights that a restricted cluster gives."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from components.kfp_context import IMAGE, LAUNCHER_IMAGE
from tests.images.engine import Engine
from tests.images.locks import locked
from tests.images.steps import step_imports
from tests.pipeline.local.runs import write_examples

pytestmark = [pytest.mark.images, pytest.mark.model, pytest.mark.processes]

# Bytes of all layers.
LIMITS = {"launcher_image": 230_000_000, "cpu_image": 1_600_000_000, "cuda_image": 5_600_000_000}
LISTS = {"launcher_image": ["launcher.txt"], "cpu_image": ["cpu.txt", "torch-cpu.txt"], "cuda_image": ["cuda.txt"]}
every_image = pytest.mark.parametrize("fixture", LIMITS)
with_torch = pytest.mark.parametrize("fixture", ["cpu_image", "cuda_image"])

INSTALLED = """
import importlib.metadata, json
print(json.dumps({d.metadata["Name"]: d.version for d in importlib.metadata.distributions(path=["SITE"])}))
""".replace("SITE", "/opt/sharpen/lib/python3.11/site-packages")


@every_image
def test_size(engine: Engine, fixture: str, request: pytest.FixtureRequest) -> None:
    image, limit = request.getfixturevalue(fixture), LIMITS[fixture]
    print(f"{image}: {engine.size(image) / 1e6:.0f} MB of {limit / 1e6:.0f}")
    assert engine.size(image) <= limit


@every_image
def test_what_is_installed_is_what_is_locked(engine: Engine, fixture: str, request: pytest.FixtureRequest) -> None:
    image = request.getfixturevalue(fixture)
    installed = json.loads(engine.run(image, "python", "-c", INSTALLED).stdout)
    found = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in installed.items()}
    assert found.pop("sharpen")
    wanted = {name: version for file in LISTS[fixture] for name, version in locked(file).items()}
    assert {name: version.partition("+")[0] for name, version in found.items()} == wanted


@every_image
def test_configuration(engine: Engine, fixture: str, request: pytest.FixtureRequest) -> None:
    """A user with a number, so that a cluster can see that it is not root; labels; no variable that tells a secret."""
    image = request.getfixturevalue(fixture)
    config = json.loads(engine("image", "inspect", image).stdout)[0]["Config"]
    assert re.fullmatch(r"[1-9]\d*:0", config["User"])
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    assert labels["licenses"] == "Apache-2.0"
    assert labels["version"] == "0.1.0"
    assert labels["revision"] == "test"
    names = [line.partition("=")[0] for line in config["Env"]]
    assert not [name for name in names if re.search("SECRET|PASSWORD|KEY|_TOKEN", name)]


@every_image
def test_nothing_of_the_build_is_left(engine: Engine, fixture: str, request: pytest.FixtureRequest) -> None:
    """No pip configuration, no sources, no tests; nothing that the running user could change."""
    image = request.getfixturevalue(fixture)
    left = "ls -d /etc/pip.conf /root/.config /source /build /wheels 2>/dev/null | xargs -r ls -A"
    assert engine.run(image, "sh", "-c", left).stdout == ""
    # folders that the build mounted may be there, without what was in them
    others = "find /opt -path /opt/sharpen -prune -o ! -type d -print"
    assert engine.run(image, "sh", "-c", others).stdout == ""
    writable = "find /opt ! -type l -perm /022 -print; find /opt ! -user 0 -print; find /opt -perm /7000 -print"
    assert engine.run(image, "sh", "-c", writable).stdout == ""


@every_image
def test_it_imports_what_the_steps_that_run_in_it_import(
    engine: Engine, fixture: str, request: pytest.FixtureRequest
) -> None:
    """As a random user with a read-only root: what the build imported, it imported as root."""
    steps = step_imports()
    # without an image of its own for them, the launcher's steps run in the others too
    chosen = [LAUNCHER_IMAGE] if fixture == "launcher_image" else [LAUNCHER_IMAGE, IMAGE]
    lines = sorted({line for image in chosen for line in steps[image]})
    assert lines
    done = engine.run(request.getfixturevalue(fixture), "python", "-c", "\n".join([*lines, "print('imported')"]))
    assert done.stdout.splitlines()[-1] == "imported"


def test_the_launcher_knows_no_torch_and_decides(engine: Engine, launcher_image: str) -> None:
    program = (
        "import importlib.util, sys\n"
        "assert not any(importlib.util.find_spec(name) for name in ('torch', 'transformers', 'numpy', 'polars'))\n"
        "import sharpen.registry.promote, sharpen.registry.registry, components.finetuning.launch\n"
        "import boto3, kubernetes.client\n"
        "boto3.client('s3', region_name='us-east-1'), boto3.client('sts', region_name='us-east-1')\n"
        "from pipeline.run_form import settings_of\n"
        "print(settings_of({'model_name': 'm', 'training_temperature': 0.05}).training.temperature)\n"
    )
    assert engine.run(launcher_image, "python", "-c", program).stdout == "0.05\n"
    assert "List all models" in engine.run(launcher_image, "sharpen", "models", "list", "--help").stdout


@with_torch
def test_data_training_and_evaluation_as_an_unknown_user_without_network(
    engine: Engine, fixture: str, tiny_model: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    write_examples(tmp_path / "examples.jsonl", rows=80)
    lengths = "--query_max_len 32 --passage_max_len 32"
    script = f"""
set -eu
test "$(id -u)" = 1234567890
! touch /opt/sharpen/x 2>/dev/null
python -m components.data_prep --train_data /given/examples.jsonl --output /tmp/data --test_share 0.25
torchrun --standalone --nproc-per-node 2 -m components.finetuning --data /tmp/data --model /given/model \\
    --output /tmp/model --train_group_size 2 --train_batch_size 16 --max_steps 4 --temperature 0.05 {lengths}
python -m components.evaluation --model /tmp/model --data /tmp/data --split test --output /tmp/evaluation {lengths}
cat /tmp/evaluation/metrics.json
"""
    shutil.copytree(tiny_model, tmp_path / "model")
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    options = [f"--volume={tmp_path}:/given:ro", "--env=OMP_NUM_THREADS=1"]
    done = engine.run(request.getfixturevalue(fixture), "sh", "-c", script, options=options)
    metrics = json.loads(done.stdout[done.stdout.rindex("\n{") :])
    assert 0 < metrics["ndcg_at_10"] <= 1


@with_torch
def test_the_default_base_model_is_in_the_image(engine: Engine, fixture: str, request: pytest.FixtureRequest) -> None:
    program = (
        "from sharpen.embeddings.encoding import encode\n"
        "from sharpen.models.encoder import Encoder\n"
        "from pipeline.parameters import Settings\n"
        "settings = Settings()\n"
        "encoder = Encoder.load(settings.base_model, settings.encoder)\n"
        "near, same, far = encode(encoder, ['a cat sat down', 'the cat was sitting', 'income tax law'], 'query')\n"
        "print(near @ same > 0.5 > near @ far)\n"
    )
    assert engine.run(request.getfixturevalue(fixture), "python", "-c", program).stdout.splitlines()[-1] == "True"
