"""The whole pipeline on this machine: tiny model, two processes, a real S3 store."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.store.readiness import client_for
from pipeline.store.server import EmbeddedStore
from sharpen.store import storage
from tests.pipeline.waiting import wait_until

pytestmark = [pytest.mark.model, pytest.mark.store, pytest.mark.processes]

ROOT = Path(__file__).parents[3]
NOUNS = "cats dogs birds fish horses cows sheep goats ducks mice frogs bears wolves foxes lions tigers".split()
VERBS = "eat see hear chase find like follow hide".split()


def write_examples(path: Path, rows: int = 240) -> None:
    """Queries and passages that share a pair of words: a model can learn to match them."""
    draw = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            noun, verb, other = draw.choice(NOUNS), draw.choice(VERBS), draw.choice(NOUNS)
            query = f"what do {noun} {verb} {other} {number}"
            passage = f"many {noun} {verb} the {other} and this is passage {number} of the book"
            file.write(json.dumps({"query": query, "pos": [passage], "neg": []}) + "\n")


def write_inputs(folder: Path, base_model: Path, training: str) -> None:
    """Examples, and settings of a run on them that is over soon.

    Args:
        folder: takes both.
        base_model: folder of the model.
        training: settings of the training besides, as YAML.
    """
    write_examples(folder / "examples.jsonl")
    (folder / "my.yaml").write_text(
        f"""
train_data: examples.jsonl
base_model: {base_model}
model_name: tiny
encoder: {{precision: fp32, query_max_len: 32, passage_max_len: 64}}
data: {{test_share: 0.25, dev_share: 0.1}}
mining: {{range_for_sampling: 1-40, negative_number: 4, relative_margin: null}}
training: {{train_group_size: 3, train_batch_size: 32, max_steps: 30, learning_rate: 0.01, {training}}}
promotion: {{min_queries: 10}}
job: {{processes: 2}}
"""
    )


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder, with spaces and brackets in its path, that holds examples and a user's packages of our names."""
    folder = tmp_path_factory.mktemp("a [") / "b] workshop"
    for package in ("components", "pipeline", "sharpen"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").touch()
    write_inputs(folder, tiny_model, "temperature: 0.05")
    return folder


def as_a_user(folder: Path, *arguments: str, **variables: str) -> dict[str, Any]:
    """How the command is started: from the folder, with no AWS variables but those that are given."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {"OMP_NUM_THREADS": "1", "SHARPEN_CACHE": str(folder / "cache"), **variables}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [variables.get("PYTHONPATH"), str(ROOT)]))
    # -P as in the installed command: what is in the working folder is the user's
    command = [sys.executable, "-P", "-m", "pipeline.cli", *arguments]
    return {"args": command, "cwd": folder, "env": environment, "text": True}


def sharpen(folder: Path, *arguments: str, timeout: float = 600, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command as a user starts it, when it has ended."""
    return subprocess.run(**as_a_user(folder, *arguments, **variables), capture_output=True, timeout=timeout)


@pytest.fixture(scope="module")
def first_run(workshop: Path) -> subprocess.CompletedProcess[str]:
    (workshop / "temporary files").mkdir()
    return sharpen(workshop, "run", "--config", "my.yaml", TMPDIR=str(workshop / "temporary files"))


def champion(folder: Path) -> str:
    return sharpen(folder, "models", "show", "tiny").stdout


def test_the_whole_pipeline_ends_with_gain_address_report_and_next_commands(
    workshop: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    assert first_run.returncode == 0, first_run.stdout + first_run.stderr
    assert re.search(r"Gain: nDCG@10 \d\.\d+ -> \d\.\d+ \(\+0\.\d+, 95 % interval \+", first_run.stdout)
    assert re.search(r"Model:  s3://sharpen/models/tiny/versions/v0001", first_run.stdout)
    report = Path(re.search(r"Report: (.*)", first_run.stdout)[1])  # type: ignore[index]
    assert "<html" in report.read_text()
    after = first_run.stdout.partition("Next:")[2]
    assert re.findall(r"^  .*sharpen'? (\w+ ?\w*)", after, flags=re.MULTILINE) == [
        *("search ", "models show", "models pull", "run ")
    ]


def test_what_kfp_makes_for_itself_is_in_the_runs_folder(
    workshop: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    """Its workspace too, until kfp removes it; it would be made in the temporary folder otherwise."""
    (run,) = (workshop / ".sharpen" / "runs").iterdir()
    assert "kfp" in {path.name for path in run.iterdir()}
    assert list((workshop / "temporary files").iterdir()) == []


def test_the_second_step_that_needs_the_corpus_reads_its_vectors_from_the_cache(
    workshop: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    """The evaluation of the base model and mining encode the same passages with the same model."""
    (log,) = (workshop / ".sharpen" / "runs").glob("*/log.txt")
    text = log.read_text()
    cached = re.findall(r"Encoding passages: ([\d,]+) of ([\d,]+) are in the cache", text)
    assert len(cached) == 2 and all(found == wanted for found, wanted in cached)
    # the base model once, the tuned model once
    assert len(re.findall(r"Encoding passages: 100 % .* in \d", text)) == 2


def test_the_registry_lists_shows_and_gives_the_model(
    workshop: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    from sentence_transformers import SentenceTransformer

    assert first_run.returncode == 0
    assert re.search(r"tiny\s+v0001", sharpen(workshop, "models", "list").stdout)
    assert "champion v0001" in champion(workshop)
    pulled = sharpen(workshop, "models", "pull", "tiny", "--to", "my model")
    assert pulled.returncode == 0, pulled.stderr
    vectors = SentenceTransformer(str(workshop / "my model"), device="cpu").encode(["cats eat fish"])
    assert vectors.shape == (1, 32)


def test_the_champion_is_indexed_and_can_be_asked(workshop: Path, first_run: subprocess.CompletedProcess[str]) -> None:
    assert re.search(r"indexing\n.*passages in", first_run.stdout, flags=re.DOTALL)
    asked = sharpen(workshop, "search", "what do cats eat", "--json", "--top", "3")
    assert asked.returncode == 0, asked.stderr
    assert all(" of the book" in hit["text"] for hit in json.loads(asked.stdout)["hits"])


def test_a_second_round_mines_with_the_model_of_the_first(
    workshop: Path, first_run: subprocess.CompletedProcess[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = sharpen(workshop, "run", "--config", "my.yaml", "--set", "mining.rounds=2")
    assert ended.returncode in (0, 3), ended.stdout + ended.stderr
    told = ended.stdout
    # the first round is that of the run before; the second is done
    for step in ("hard negatives, round 1 of 2", "fine-tuning, round 1 of 2"):
        assert re.search(rf"{step}\n  nothing changed", told), step
    for step in ("hard negatives, round 2 of 2", "fine-tuning, round 2 of 2"):
        assert re.search(rf"{step}\n    ", told), step
    assert re.search(r"Finished in .*, 2 rounds; the model is that of round 2", told)
    mined = re.findall(r"report  (s3://\S+)/report.html", told)[-1]
    assert mined.endswith("/hard_negatives-2")
    with EmbeddedStore(workshop / ".sharpen" / "store") as store:
        for name, value in store.env().items():
            monkeypatch.setenv(name, value)
        report = storage.read_json(f"{mined}/report.json")
        first = storage.read_json(f"{report['model']}/training.json")
        second = storage.read_json(f"{mined.rpartition('/')[0]}/finetuning-2/training.json")
    assert report["model"].endswith("/finetuning")
    assert second["base_weights"] == first["base_weights"]
    assert second["negatives_hash"] != first["negatives_hash"]


def test_a_second_run_repeats_only_what_changed_and_the_gate_can_say_no(
    workshop: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    before = champion(workshop)
    with EmbeddedStore(workshop / ".sharpen" / "store") as store:
        (mined,) = re.findall(r"report  (s3://sharpen/runs/\S+)/report.html", first_run.stdout)
        bucket = client_for(store.folder.state().endpoint, store.folder.keys() or {})
        bucket.delete_object(Bucket="sharpen", Key=f"{mined.removeprefix('s3://sharpen/')}/_SUCCESS.json")
    changes = ("--set", "training.max_steps=1", "--set", "promotion.min_gain=0.5")
    second = sharpen(workshop, "run", "--config", "my.yaml", *changes)
    assert second.returncode == 3, second.stdout + second.stderr
    assert re.search(r"hard-negatives\n    not taken from the cache: .*; doing it again", second.stdout)
    # there is a champion now, so what is measured before training is another
    assert re.search(r"data-prep\n  nothing changed", second.stdout)
    assert re.search(r"finetuning\n    fine-tuning: ", second.stdout)
    assert "Model:  the champion stays s3://sharpen/models/tiny/versions/v0001" in second.stdout
    assert second.stderr.startswith("error: the gate did not promote")
    assert champion(workshop) == before


def test_a_step_that_dies_stops_the_run_and_promotes_nothing(
    workshop: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    before = champion(workshop)
    # what the kernel does to a training process that takes too much memory
    killer = workshop / "killer"
    killer.mkdir()
    (killer / "sitecustomize.py").write_text(
        "import os, sys\nif 'components.finetuning' in sys.orig_argv: os.kill(os.getpid(), 9)\n"
    )
    died = sharpen(workshop, "run", "--config", "my.yaml", "--set", "training.seed=7", PYTHONPATH=str(killer))
    assert died.returncode == 1, died.stdout + died.stderr
    lines = died.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: step finetuning failed: the job of 2 process(es) ended with exit code")
    log = Path(lines[0].rpartition("The whole log: ")[2])
    assert "finetuning" in log.read_text()
    assert champion(workshop) == before


def test_a_killed_run_leaves_no_process_and_no_store(
    workshop: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    def processes() -> list[str]:
        found = psutil.process_iter(["cwd", "status", "cmdline"])
        alive = [process.info for process in found if process.info["status"] != psutil.STATUS_ZOMBIE]
        return [str(info["cmdline"]) for info in alive if str(info["cwd"]).startswith(str(workshop))]

    changes = ("--set", "training.seed=11", "--set", "training.max_steps=5000")
    started = as_a_user(workshop, "run", "--config", "my.yaml", *changes)
    with subprocess.Popen(**started, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        assert run.stdout
        assert any(" on 2 process(es)" in line for line in run.stdout), "until it trains"
        assert len(processes()) >= 6
        run.kill()
        wait_until(lambda: not processes(), 10)


@pytest.mark.parametrize(
    ("assignment", "variables", "told"),
    [
        ("train_data=missing.jsonl", {}, "missing.jsonl"),
        ("train_data=empty.jsonl", {}, "empty.jsonl"),
        ("base_model=./nothing", {}, "./nothing: no such folder"),
        ("base_model=.", {}, ".: no config.json there"),
        ("store=s3://no-such-bucket", {}, "no bucket 'no-such-bucket'"),
        ("store=s3://sharpen", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "the secret is wrong"),
        ("store=s3://sharpen", {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "cannot reach the object store"),
        ("training.temperature=0", {}, "training.temperature"),
        ("training.train_group_size=0", {}, "training.train_group_size"),
        ("training.temprature=1", {}, "did you mean temperature?"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    workshop: Path,
    first_run: subprocess.CompletedProcess[str],
    assignment: str,
    variables: dict[str, str],
    told: str,
    s3: str,
) -> None:
    (workshop / "empty.jsonl").touch()
    own_store = {name: os.environ[name] for name in os.environ if name.startswith("AWS_") and "store=" in assignment}
    ended = sharpen(workshop, "run", "--config", "my.yaml", "--set", assignment, **{**own_store, **variables})
    assert ended.returncode == 2, ended.stdout + ended.stderr
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1, ended.stderr
    assert told in lines[0]
    assert "Traceback" not in ended.stdout + ended.stderr
