"""The whole pipeline on this machine, again and again: tiny model, two processes, a real S3 store."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import psutil
import pytest

from pipeline.store.readiness import client_for
from pipeline.store.server import EmbeddedStore
from sharpen.data.dataset import DataSet
from sharpen.registry import last_run, registry
from sharpen.registry.versions import index_address, version_address
from sharpen.store import storage
from tests.pipeline.local.runs import (
    add_examples,
    as_a_user,
    opened,
    overtaken_by,
    sharpen,
    steps,
    write_inputs,
    written,
)
from tests.pipeline.waiting import wait_until

pytestmark = [pytest.mark.model, pytest.mark.store, pytest.mark.processes]

CHEAP = ["plan", "data-prep", "finish"]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder, with spaces and brackets in its path, that holds examples and a user's packages of our names."""
    folder = tmp_path_factory.mktemp("a [") / "b] workshop"
    for package in ("components", "pipeline", "sharpen"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").touch()
    write_inputs(folder, tiny_model, "temperature: 0.05")
    with (folder / "my.yaml").open("a") as file:
        file.write("retraining: {min_new_examples: 30}\nserving: {size: dim:16+int8}\n")
    add_examples(folder, 240)
    return folder


@pytest.fixture(scope="module")
def first_run(workshop: Path, tiny_model: Path) -> subprocess.CompletedProcess[str]:
    """While it trains, another run's model, no better than the base model, becomes the champion."""
    with opened(workshop) as store:
        overtaking = overtaken_by(workshop, store, tiny_model)
    temporary = workshop / "temporary files"
    temporary.mkdir()
    return sharpen(workshop, "run", "--config", "my.yaml", PYTHONPATH=overtaking, TMPDIR=str(temporary))


def champion(folder: Path) -> str:
    return sharpen(folder, "models", "show", "tiny").stdout


def test_the_whole_pipeline_ends_with_gain_address_report_and_next_commands(
    workshop: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    told = first_run.stdout
    assert first_run.returncode == 0, told + first_run.stderr
    assert "no earlier run of this model has finished" in told
    assert re.search(r"champion: none yet; training starts from /.*tiny-bert", told)
    assert re.search(r"Gain: nDCG@10 \d\.\d+ -> \d\.\d+ \(\+0\.\d+, 95 % interval \+", told)
    assert re.search(r"Model:  s3://sharpen/models/tiny/versions/v0002", told) and "tiny: promoted as v0002" in told
    report = Path(re.search(r"Report: (.*)", told)[1])  # type: ignore[index]
    page = report.read_text()
    assert "What the gate said" in page and "What may hold this model back" in page
    assert "(champion as dim:16+int8)" in page and "Served: nDCG@10 as dim:16+int8 0." in told
    # nobody set merging.enabled
    assert "Merging with the base model" in page and "Gain against forgetting" in page
    after = told.partition("Next:")[2]
    assert re.findall(r"^  .*sharpen'? (\w+ ?\w*)", after, flags=re.MULTILINE) == [
        *("search ", "models show", "models pull", "run ")
    ]


def test_a_champion_of_another_run_is_compared_with_in_the_same_run(
    workshop: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    told = first_run.stdout
    assert "compare again: v0001 is the champion, but the evaluation compared with the base model only" in told
    assert steps(told)[-4:] == ["evaluation-2", "promotion-2", "indexing-2", "finish"]
    with opened(workshop) as store:
        run, _ = written(store, workshop)
        compared = storage.read_json(f"{run}/evaluation-tuned-2/comparison.json")["against"]
        assert compared["champion"]["model"].endswith("/versions/v0001") and "base" in compared
        assert storage.read_json(f"{run}/evaluation-tuned-2/facts.json")["model"] == f"{run}/merging"
        record = last_run.read(store, "tiny")
        assert record is not None and (record.version, record.seen.count) == ("v0002", 240)


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
    """Whatever encodes passages with a model that another step has encoded them with, such as mining."""
    (log,) = (workshop / ".sharpen" / "runs").glob("*/log.txt")
    text = log.read_text()
    cached = re.findall(r"Encoding passages: ([\d,]+) of ([\d,]+) are in the cache", text)
    assert len(cached) >= 2 and all(found == wanted for found, wanted in cached)
    # the base model, the tuned model and the other run's champion once each; for merging the guard set with each of
    # five weights, and the corpus with the three between base and tuned model
    assert len(re.findall(r"Encoding passages: 100 % .* in \d", text)) == 3 + 5 + 3


def test_the_registry_lists_shows_and_gives_the_model(
    workshop: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    from sentence_transformers import SentenceTransformer

    assert first_run.returncode == 0
    assert re.search(r"tiny\s+v0002", sharpen(workshop, "models", "list").stdout)
    assert "champion v0002" in champion(workshop)
    pulled = sharpen(workshop, "models", "pull", "tiny", "--to", "my model")
    assert pulled.returncode == 0, pulled.stderr
    vectors = SentenceTransformer(str(workshop / "my model"), device="cpu").encode(["cats eat fish"])
    # sentence-transformers takes the size in which it is served, too
    assert vectors.shape == (1, 16)


def test_the_champion_is_indexed_and_can_be_asked(workshop: Path, first_run: subprocess.CompletedProcess[str]) -> None:
    assert re.search(r"indexing-2\n.*passages in", first_run.stdout, flags=re.DOTALL)
    asked = sharpen(workshop, "search", "what do cats eat", "--json", "--top", "3")
    assert asked.returncode == 0, asked.stderr
    assert all(" of the book" in hit["text"] for hit in json.loads(asked.stdout)["hits"])
    with opened(workshop) as store:
        made = storage.read_json(storage.join(index_address(version_address(store, "tiny", "v0002")), "manifest.json"))
        assert (made["embeddings"]["dimension"], made["embeddings"]["precision"]) == (16, "int8")


def test_what_changed_or_is_damaged_is_done_again_and_a_step_that_dies_promotes_nothing(
    workshop: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    with opened(workshop) as root, EmbeddedStore(workshop / ".sharpen" / "store") as store:
        before = registry.show(root, "tiny")
        first_of_all = min((workshop / ".sharpen" / "runs").iterdir()).name
        bucket = client_for(store.folder.state().endpoint, store.folder.keys() or {})
        bucket.delete_object(Bucket="sharpen", Key=f"runs/{first_of_all}/finetuning/_SUCCESS.json")
        # what the kernel does to a training process that takes too much memory
        killer = workshop / "killer"
        killer.mkdir()
        (killer / "sitecustomize.py").write_text(
            "import os, sys\nif 'components.finetuning' in sys.orig_argv: os.kill(os.getpid(), 9)\n"
        )
        died = sharpen(workshop, "run", "--config", "my.yaml", "--set", "mining.rounds=2", PYTHONPATH=str(killer))
        assert died.returncode == 1, died.stdout + died.stderr
        # the first of two rounds is that of the first run, whose model is damaged
        for step in ("data-prep", "hard negatives, round 1 of 2"):
            assert re.search(rf"{step}\n  nothing changed", died.stdout), step
        assert re.search(r"fine-tuning, round 1 of 2\n    not taken from the cache: .*; doing it again", died.stdout)
        # there is a champion now, so what is measured before training is another
        assert not re.search(r"evaluation-before\n  nothing changed", died.stdout)
        lines = died.stderr.strip().splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("error: step finetuning failed: the job of 2 process(es) ended with exit code")
        log = Path(lines[0].rpartition("The whole log: ")[2])
        assert "finetuning" in log.read_text()
        assert registry.show(root, "tiny") == before


def test_nights_of_retraining(workshop: Path, first_run: subprocess.CompletedProcess[str]) -> None:
    with opened(workshop) as store:
        nights(workshop, store)
    add_examples(workshop, 240)


def queries_of(run: str) -> dict[str, set[str]]:
    """Split -> ids of its queries in the data of a run."""
    data = DataSet.open(storage.join(run, "data_prep"))
    return {split: set(data.queries_of(split)["query_id"]) for split in ("train", "dev", "test")}


def check_selection(run: str, of_first: dict[str, set[str]]) -> None:
    """New queries are trained on with two fifths of others; what the first run held out is held out."""
    present = queries_of(run)
    selected = storage.read_json(storage.join(run, "data_prep", "stats.json"))["splitting"]["selected"]
    assert present["test"] >= of_first["test"] and present["dev"] >= of_first["dev"]
    assert len(present["train"] - of_first["train"]) == selected["new"] > 10
    assert len(present["train"] & of_first["train"]) == selected["replayed"] == round(selected["new"] * 0.4 / 0.6)
    assert selected["left_out"] == len(of_first["train"]) - selected["replayed"]


def nights(workshop: Path, store: str) -> None:
    """What runs that a schedule starts do, after the first one."""
    champion, record = registry.show(store, "tiny"), last_run.read(store, "tiny")
    assert record is not None
    of_first = queries_of(storage.join(store, "runs", min((workshop / ".sharpen" / "runs").iterdir()).name))

    # night 2: some rows more, too few
    add_examples(workshop, 260)
    second = sharpen(workshop, "run", "--config", "my.yaml")
    assert second.returncode == 0, second.stdout + second.stderr
    assert steps(second.stdout) == CHEAP
    said = "skipped: 20 new examples since v0002, min_new_examples is 30"
    # data_prep, the finish and the summary say so
    assert second.stdout.count(said) == 3 and f"tiny: {said}" in second.stdout
    assert f"Model:  the champion stays {champion.address}" in second.stdout
    _, outputs = written(store, workshop)
    (card,) = outputs["data-prep"]["artifacts"]["prepared_data"]["artifacts"]
    assert {"examples": 260, "new_examples": 20, "gone_examples": 0}.items() <= card["metadata"].items()
    noted = last_run.read(store, "tiny")
    assert noted is not None and noted.seen == record.seen and noted.skipped["reason"] == said
    assert registry.show(store, "tiny") == champion

    # the same once more: what held too little is not prepared again
    repeated = sharpen(workshop, "run", "--config", "my.yaml")
    assert repeated.returncode == 0 and said in repeated.stdout, repeated.stdout + repeated.stderr
    _, outputs = written(store, workshop)
    assert outputs["plan"]["parameterValues"]["train_data"] == ""

    # night 3, in two rounds and with other settings than the last run that finished: it goes on from the champion and
    # must beat it, which is measured as it was trained, whatever this run sets. It is trained on what the champion has
    # not seen, and on some of the rest
    add_examples(workshop, 280)
    foreign = ("--set", "encoder.query_instruction_for_retrieval=old river:", "--set", "promotion.min_gain=0.9")
    foreign += ("--set", "retraining.start_from=champion", "--set", "mining.rounds=2")
    foreign += ("--set", "retraining.only_new=true", "--set", "retraining.replay_share=0.4")
    # merging, two processes and a training that helps are what the first run shows
    foreign += ("--set", "merging.enabled=false", "--set", "job.processes=1", "--set", "training.max_steps=12")
    third = sharpen(workshop, "run", "--config", "my.yaml", *foreign)
    assert third.returncode == 3, third.stdout + third.stderr
    # without merging the steps have other code
    assert "the settings and the code changed since v0002" in third.stdout
    run, _ = written(store, workshop)
    check_selection(run, of_first)
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
    assert re.search(r"tiny: not promoted; nDCG@10 .*: gain ", third.stdout)
    assert f"Model:  the champion stays {champion.address}" in third.stdout
    assert third.stderr.startswith("error: the gate did not promote")
    assert "explain tiny-" in third.stdout.rstrip().splitlines()[-1]
    assert "likely causes: sharpen explain tiny-" in third.stderr
    # its second round mines with the model of the first, and trains from the same weights
    assert re.search(r"Finished in .*, 2 rounds; the model is that of round 2", third.stdout)
    assert storage.read_json(f"{run}/hard_negatives-2/report.json")["model"] == f"{run}/finetuning"
    again = storage.read_json(f"{run}/finetuning-2/training.json")
    assert again["base_weights"] == training["base_weights"]
    assert again["negatives_hash"] != training["negatives_hash"]

    # night 4: the same data, which the gate has said no to
    fourth = sharpen(workshop, "run", "--config", "my.yaml", *foreign)
    assert fourth.returncode == 0, fourth.stdout + fourth.stderr
    assert steps(fourth.stdout) == CHEAP
    assert re.search(r"skipped: 0 new examples since run tiny-\S+, which was not promoted, min_new", fourth.stdout)
    assert registry.show(store, "tiny") == champion


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
        wait_until(lambda: not processes(), 60)


@pytest.mark.parametrize(
    ("assignments", "variables", "told"),
    [
        (
            ["train_data=missing.jsonl,empty.jsonl", "base_model=./nothing"],
            {},
            ["missing.jsonl", "empty.jsonl", "./nothing: no such folder"],
        ),
        (["base_model=."], {}, [".: no config.json there"]),
        (["store=s3://no-such-bucket"], {}, ["no bucket 'no-such-bucket'"]),
        (["store=s3://sharpen"], {"AWS_SECRET_ACCESS_KEY": "wrong"}, ["the secret is wrong"]),
        (["store=s3://sharpen"], {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, ["cannot reach the object store"]),
        (
            ["training.temperature=0", "training.train_group_size=0", "training.temprature=1"],
            {},
            ["did you mean temperature?", "training.temperature", "training.train_group_size"],
        ),
    ],
)
def test_wrong_input_is_one_line_a_fault_and_exit_code_2(
    workshop: Path, assignments: list[str], variables: dict[str, str], told: list[str], s3: str
) -> None:
    (workshop / "empty.jsonl").touch()
    own_store = {
        name: os.environ[name] for name in os.environ if name.startswith("AWS_") and "store=" in assignments[0]
    }
    chosen = [word for assignment in assignments for word in ("--set", assignment)]
    ended = sharpen(workshop, "run", "--config", "my.yaml", *chosen, **{**own_store, **variables})
    assert ended.returncode == 2, ended.stdout + ended.stderr
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == len(told), ended.stderr
    for text in told:
        assert sum(text in line for line in lines) == 1, ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
