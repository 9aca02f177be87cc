"""A whole training: what it writes, that it resumes to the bit, that the number of processes does not matter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from sharpen.embeddings.encoding import encode
from sharpen.errors import InputError
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from tests.sharpen.reports.html_pages import check_page
from tests.sharpen.training.small_data import ENCODER, small_data, small_negatives, with_teacher

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Address of a finished data set, with mined negatives beside it."""
    folder = tmp_path_factory.mktemp("finetuning data")
    made = with_teacher(small_data())
    with storage.publish(str(folder / "data"), producer="test", run_id="") as place:
        made.save(place)
    with storage.publish(str(folder / "mined"), producer="test", run_id="") as place:
        (place / "negatives").mkdir()
        small_negatives(made).write_parquet(place / "negatives" / "part-00000.parquet")
    return folder


def settings(folder: Path, **values: Any) -> TrainingSettings:
    common = {"train_batch_size": 8, "train_group_size": 4, "learning_rate": 1e-3, "logging_steps": 2}
    return TrainingSettings.checked({**common, "checkpoint_folder": str(folder / "checkpoints"), **values})


def run(
    data: Path, model: Path, output: Path, training: TrainingSettings, encoder: EncoderSettings = ENCODER
) -> dict[str, Any]:
    return train(str(data / "data"), str(data / "mined"), str(model), str(output), training, encoder)


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


def assert_equal_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name in first:
        assert np.array_equal(first[name], second[name]), name


def test_a_training_from_start_to_sentence_transformers(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    prompts = ENCODER.model_copy(update={"query_instruction_for_retrieval": "find text: "})
    facts = run(data, tiny_model, tmp_path / "out", settings(tmp_path, max_steps=3, dropout=0.0), prompts)
    assert storage.is_complete(str(tmp_path / "out"))
    assert storage.read_manifest(str(tmp_path / "out")).producer == "finetuning"
    assert json.loads((tmp_path / "out" / "training.json").read_text()) == json.loads(json.dumps(facts))
    assert (facts["steps"], facts["world_size"], facts["counts"]["queries"]) == (3, 1, 20)
    assert [point["step"] for point in facts["log"] if "loss" in point] == [1, 2, 3]
    assert all({"learning_rate", "grad_norm", "negatives_per_query"} <= p.keys() for p in facts["log"] if "loss" in p)
    assert facts["settings"]["learning_rate"] == 1e-3
    assert not (tmp_path / "checkpoints").exists() or not any((tmp_path / "checkpoints").iterdir())

    texts = ["sun moon", "a stone by the river", "bread"]
    ours = Encoder.load(str(tmp_path / "out"), ENCODER, device="cpu")
    theirs = SentenceTransformer(str(tmp_path / "out"))
    assert ours.prompts["query"] == "find text: "
    assert np.abs(encode(ours, texts, "query") - theirs.encode_query(texts)).max() < 1e-5
    assert np.abs(encode(ours, texts, "passage") - theirs.encode_document(texts)).max() < 1e-5
    base = Encoder.load(str(tiny_model), ENCODER, device="cpu")
    assert np.abs(encode(ours, texts, "passage") - encode(base, texts, "passage")).max() > 1e-3

    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: sentence-transformers\n")
    assert '`"find text: "`' in card
    assert facts["data_fingerprint"] in card
    assert "Longest query 16 tokens, longest passage 32. A folder of one encoder knows one limit, 32" in card


def test_in_batch_negatives_alone(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    facts = run(
        data, tiny_model, tmp_path / "out", settings(tmp_path, train_group_size=1, max_steps=3, logging_steps=1)
    )
    assert facts["random_negatives_per_query"] == 0
    # at most the positives of the six other rows; a text that is relevant to the query as well is masked
    assert 4 < facts["negatives_per_query"] <= 6
    assert any("hard negatives are not used" in line for line in facts["warnings"])
    assert storage.is_complete(str(tmp_path / "out"))


def test_training_lowers_the_loss(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    facts = run(
        data, tiny_model, tmp_path / "out", settings(tmp_path, num_train_epochs=10, learning_rate=3e-3, temperature=0.1)
    )
    losses = [point["loss"] for point in facts["log"] if "loss" in point]
    assert facts["steps"] == 30
    assert losses[-1] < 0.7 * losses[0]


def test_dev_evaluation_keeps_the_best_model_and_stops_early(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    chosen = settings(tmp_path, max_steps=30, eval_steps=2, early_stopping_patience=2, learning_rate=5e-3)
    facts = run(data, tiny_model, tmp_path / "out", chosen)
    scores = {p["step"]: p["eval_dev_ndcg_at_10"] for p in facts["log"] if "eval_dev_ndcg_at_10" in p}
    assert facts["dev_ndcg_at_10_base"] == scores[0]
    assert facts["dev_ndcg_at_10"] == max(scores.values())
    assert scores[facts["best_step"]] == max(scores.values())
    assert facts["steps"] == facts["best_step"] + 4 or facts["steps"] == 30
    from sharpen.data.readers import read_dataset
    from sharpen.distributed import ProcessGroup
    from sharpen.training.dev_score import DevSet
    from sharpen.training.gradient.micro_batch import MicroBatchConfig

    kept = Encoder.load(str(tmp_path / "out"), ENCODER, device="cpu")
    dev = DevSet.cut(read_dataset(str(data / "data")), 1000, 42)
    assert dev.ndcg(kept, MicroBatchConfig(), ProcessGroup()).mean() == pytest.approx(facts["dev_ndcg_at_10"], abs=1e-6)


def test_the_base_is_kept_where_training_makes_it_worse(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    chosen = settings(tmp_path, max_steps=4, eval_steps=2, learning_rate=0.3, warmup_steps=0, dropout=0.0)
    facts = run(data, tiny_model, tmp_path / "out", chosen)
    scores = {p["step"]: p["eval_dev_ndcg_at_10"] for p in facts["log"] if "eval_dev_ndcg_at_10" in p}
    assert max(scores[2], scores[4]) < scores[0]
    assert (facts["best_step"], facts["dev_ndcg_at_10"]) == (0, scores[0])
    Encoder.load(str(tiny_model), ENCODER, device="cpu").save(tmp_path / "base")
    assert_equal_weights(tmp_path / "out", tmp_path / "base")


@pytest.mark.processes
def test_kill_and_resume_gives_the_same_weights(
    data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """`kill -9` with dropout on; the second start goes on and ends with the weights of a run that nobody killed."""
    chosen = settings(tmp_path, max_steps=80, save_steps=10, logging_steps=40)
    command = [
        *(sys.executable, "-m", "components.finetuning", "--data", data / "data", "--negatives", data / "mined"),
        *("--model", tiny_model, "--output", tmp_path / "killed", "--precision", "fp32"),
        *("--query_max_len", "16", "--passage_max_len", "32"),
    ]
    for name, value in chosen.model_dump(exclude_unset=True).items():
        command += [f"--{name}", str(value)]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[3]) as job:
        deadline = time.monotonic() + 600
        while not list(tmp_path.glob("checkpoints/*/checkpoint-*/_SUCCESS.json")):
            assert job.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.2)
        os.kill(job.pid, signal.SIGKILL)
    assert not (tmp_path / "killed").exists()
    reached = max(int(path.parent.name.rsplit("-", 1)[1]) for path in tmp_path.glob("checkpoints/*/*/_SUCCESS.json"))
    assert 10 <= reached < 80
    facts = run(data, tiny_model, tmp_path / "killed", chosen)
    assert facts["steps"] == 80
    assert f"going on from {tmp_path}" in (told := capsys.readouterr().out)
    assert f"Training from step {reached}" in told
    unbroken = chosen.model_copy(update={"save_steps": 0})
    run(data, tiny_model, tmp_path / "unbroken", unbroken)
    assert_equal_weights(tmp_path / "killed", tmp_path / "unbroken")


@pytest.mark.processes
def test_two_processes_through_the_pipelines_face_give_the_model_of_one(
    data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kfp.dsl import HTML, Artifact, Dataset, Model, TaskConfig

    from components.finetuning.component import finetuning

    monkeypatch.setenv("SHARPEN_RUN", str(tmp_path / "run"))
    chosen = settings(tmp_path, max_steps=4, dropout=0.0, gradient_cache="on", micro_batch_tokens=64)
    model, taken = Model(uri=str(tmp_path / "model")), Dataset(uri=str(tmp_path / "taken"))
    address = finetuning.python_func(
        data=str(data / "data"),
        negatives=str(data / "mined"),
        base_model=str(tiny_model),
        settings=chosen.model_dump_json(),
        encoder=ENCODER.model_dump_json(),
        job='{"processes": 2}',
        fingerprint="",
        task_config=TaskConfig(),
        prepared_data=taken,
        mined_negatives=taken,
        tuned_model=model,
        training_page=HTML(uri=str(tmp_path / "page.html")),
        job_manifest=Artifact(uri=str(tmp_path / "manifest")),
    )
    assert address == model.metadata["address"] == str(tmp_path / "run" / "finetuning")
    assert json.loads((Path(address) / "training.json").read_text())["world_size"] == 2
    assert model.metadata["steps"] == 4 and model.metadata["data"] == str(data / "data")
    assert "2 processes, cpu" in check_page((tmp_path / "page.html").read_text())
    run(data, tiny_model, tmp_path / "one", chosen)
    one, two = weights(tmp_path / "one"), weights(Path(address))
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=5e-5, err_msg=name)


@pytest.mark.processes
def test_a_fault_of_the_user_reaches_the_pipeline_as_one_line(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    from components.finetuning.launch import launch_from_json

    addresses = (str(data / "data"), "", str(tiny_model), str(tmp_path / "out"))
    with pytest.raises(InputError) as told:
        launch_from_json(*addresses, '{"temprature": 1}', '{"precision": "fp8"}', '{"processes": -1}')
    assert [line.split(":")[0] for line in told.value.faults] == [
        "training.temprature",
        "encoder.precision",
        "job.processes",
    ]
    with pytest.raises(InputError, match="train_group_size: 90 needs 89 negatives"):
        launch_from_json(*addresses, '{"train_group_size": 90}', "{}", '{"processes": 1}')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "nowhere"}, "nowhere"),
        ({"model": "data"}, "no config.json"),
        ({"negatives": "data"}, "negatives"),
        ({"settings": {"matryoshka_dims": [64]}}, "only 32 dimensions"),
        ({"settings": {"training_arguments": {"learning_rat": 1}}}, "no such field"),
        ({"encoder": {"normalize_embeddings": False}, "settings": {"temperature": 0.02}}, "set temperature to 1"),
    ],
)
def test_wrong_input_is_told_before_work(
    data: Path, tiny_model: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(
            str(data / change.get("data", "data")),
            str(data / change.get("negatives", "mined")),
            str(data / change["model"]) if "model" in change else str(tiny_model),
            str(tmp_path / "out"),
            settings(tmp_path, max_steps=1, **change.get("settings", {})),
            EncoderSettings.checked({**ENCODER.model_dump(), **change.get("encoder", {})}),
        )
    assert not (tmp_path / "out").exists()


def test_distillation_checkpointing_and_frozen_positions(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    chosen = settings(
        tmp_path,
        max_steps=2,
        knowledge_distillation=True,
        kd_loss_type="m3_kd_loss",
        use_inbatch_neg=False,
        gradient_checkpointing=True,
        fix_position_embedding=True,
        gradient_cache="on",
    )
    facts = run(data, tiny_model, tmp_path / "out", chosen)
    assert facts["negatives_per_query"] == 3
    before, after = weights(tiny_model), weights(tmp_path / "out")
    frozen = "embeddings.position_embeddings.weight"
    assert np.array_equal(before[frozen], after[frozen])
    assert not np.array_equal(before["embeddings.word_embeddings.weight"], after["embeddings.word_embeddings.weight"])
    settings_after = json.loads((tmp_path / "out" / "config.json").read_text())
    assert settings_after["hidden_dropout_prob"] == json.loads((tiny_model / "config.json").read_text()).get(
        "hidden_dropout_prob", 0.1
    )
