"""`--preset auto`: what is seen of data, model and machine, and what follows from it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.parameters import load
from pipeline.presets.choose import FEW, MANY, decide
from pipeline.presets.data_facts import _COUNTED_BYTES, DataFacts, _rows, read_facts
from pipeline.presets.machine import Machine, read_machine
from sharpen.jobs.settings import JobSettings
from sharpen.models.model_hub import is_decoder_only

LAPTOP = Machine(2, 0, 0.0, 1, False)
WORKSTATION = Machine(16, 1, 80.0, 1, False)
CLUSTER = Machine(0, 8, 0.0, 4, True)
QUERY = "how do I change the password of my account"


def rows(count: int, query: str = QUERY) -> str:
    return "".join(
        json.dumps({"query": f"{query} {n}", "pos": [f"in the settings, page {n}"]}) + "\n" for n in range(count)
    )


@pytest.mark.parametrize(
    ("facts", "machine", "decoder", "name", "said"),
    [
        (DataFacts(rows=800), LAPTOP, False, "hundreds", "800 rows on 2 cores, no GPU: fewer than 5,000"),
        (DataFacts(rows=FEW), WORKSTATION, False, "tens-of-thousands", "5,000 rows on 16 cores, 1 GPU(s) of 80 GiB"),
        (DataFacts(rows=MANY, exact=False), CLUSTER, False, "millions", "about 300,000 rows on 4 pod(s)"),
        (DataFacts(rows=MANY), WORKSTATION, False, "tens-of-thousands", "millions is for GPUs of a cluster"),
        (DataFacts(rows=9, languages={"de": 0.6, "en": 0.4}), LAPTOP, False, "multilingual", "de 60 %, en 40 %"),
        (DataFacts(rows=9, languages={"de": 0.95, "en": 0.05}), LAPTOP, False, "hundreds", "9 rows"),
        (DataFacts(code=True, read=["python-source:x: Python code"]), LAPTOP, False, "code", "python-source:x"),
        (DataFacts(rows=9), LAPTOP, True, "decoder-lora", "is a decoder, which is slow without a GPU"),
        (DataFacts(rows=9), WORKSTATION, True, "decoder-lora", "is a decoder"),
        (DataFacts(documents=4, read=["docs: 4 documents"]), LAPTOP, False, "no-labels", "docs: 4 documents, and no"),
        (DataFacts(rows=9, labelled=False), LAPTOP, False, "no-labels", "and no queries"),
        (DataFacts(rows=9), LAPTOP, None, "hundreds", "9 rows"),
    ],
)
def test_the_preset_follows_from_what_was_seen(
    facts: DataFacts, machine: Machine, decoder: bool | None, name: str, said: str
) -> None:
    choice = decide(facts, machine, decoder, load(None, ["job.nodes=2", "job.gpus_per_node=4"]))
    assert choice.name == name and said in choice.reason
    limited = choice.settings.get("training") == {"max_train_minutes": 60.0}
    assert limited == (machine is LAPTOP and name != "no-labels")
    if name == "millions":
        assert choice.settings == {"job": {"nodes": 2, "gpus_per_node": 4}}, "what the job was given stands"


def test_rows_are_counted_whatever_their_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(rows(7) + "\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(rows(5).encode()))
    table = pl.DataFrame({"query": [QUERY] * 4, "positive": ["in the settings"] * 4})
    table.write_csv(tmp_path / "c.csv")
    table.write_parquet(tmp_path / "d.parquet")
    facts = read_facts(",".join(str(tmp_path / name) for name in ("a.jsonl", "b.jsonl.gz", "c.csv", "d.parquet")))
    assert (facts.rows, facts.exact, facts.labelled, facts.documents) == (7 + 5 + 4 + 4, True, True, 0)
    assert facts.main_languages == ["en"]
    assert read_facts(f"{tmp_path}/*.jsonl").rows == 7
    beir = tmp_path / "beir"
    (beir / "qrels").mkdir(parents=True)
    (beir / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": QUERY}) + "\n")
    (beir / "corpus.jsonl").write_text(json.dumps({"_id": "p", "text": QUERY}) * 1 + "\n")
    (beir / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\tp\t1\n")
    assert (read_facts(str(beir)).rows, read_facts(str(beir)).labelled) == (1, True)


def test_large_files_are_estimated_by_their_first_rows(tmp_path: Path) -> None:
    file = tmp_path / "large.jsonl"
    file.write_text(rows(30_000))
    first, count, exact = _rows(file, _COUNTED_BYTES + 1)
    assert len(first) == 200 and not exact
    # the file claims a larger size than it has, so the estimate is by its bytes a row
    assert count == pytest.approx((_COUNTED_BYTES + 1) / (file.stat().st_size / 30_000), rel=0.02)


def test_documents_and_passages_without_queries(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for n in range(3):
        (tmp_path / "docs" / f"{n}.md").write_text("# Title\n\nText of a page.\n")
    facts = read_facts(str(tmp_path / "docs"))
    assert (facts.documents, facts.rows) == (3, 0)
    passages = tmp_path / "passages.jsonl"
    passages.write_text(json.dumps({"_id": "1", "text": "a passage about nothing in particular"}) + "\n")
    assert read_facts(str(passages)).labelled is False
    settings = load(None, [f"train_data={tmp_path / 'docs'}"], preset="auto")
    assert settings.preset == "no-labels" and "3 documents, and no queries" in settings.preset_note
    assert (settings.train_data, settings.generation.documents) == ("", str(tmp_path / "docs"))


def test_the_kind_of_a_model_is_in_its_configuration(tmp_path: Path, tiny_model: Path) -> None:
    assert is_decoder_only(str(tiny_model)) is False
    for kind, decoder in (
        ("qwen3", True),
        ("llama", True),
        ("xlm-roberta", False),
        ("modernbert", False),
        ("t5", False),
    ):
        config: dict[str, Any] = {"model_type": kind, "is_encoder_decoder": kind == "t5"}
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert is_decoder_only(str(tmp_path)) is decoder, kind
    assert is_decoder_only(str(tmp_path / "nothing")) is None


def test_gpus_are_those_that_the_driver_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '81559\\n40960\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    machine = read_machine(JobSettings.checked({}), on_cluster=False)
    assert (machine.gpus, machine.gpu_gib, machine.nodes) == (2, 40.0, 1)
    program.write_text("#!/bin/sh\nexit 9\n")
    assert read_machine(JobSettings.checked({}), on_cluster=False).gpus == 0
    asked = read_machine(JobSettings.checked({"nodes": 3, "gpus_per_node": 2}), on_cluster=True)
    assert (asked.nodes, asked.gpus, asked.words) == (3, 2, "3 pod(s) of the cluster with 2 GPU(s) each")


def test_what_the_user_set_stands_above_the_choice(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(rows(40))
    settings = load(None, [f"train_data={file}", "training.max_steps=3", "training.train_batch_size=4"], preset="auto")
    assert settings.preset == "hundreds" and settings.training.early_stopping_patience == 5
    assert (settings.training.max_train_minutes, settings.training.train_batch_size) == (None, 4)
    german = rows(40, "wie kann ich das Kennwort meines Kontos ändern und zurücksetzen")
    (tmp_path / "b.jsonl").write_text(german)
    both = load(None, [f"train_data={tmp_path}/*.jsonl", "base_model=mine"], preset="auto")
    assert (both.preset, both.base_model) == ("multilingual", "mine")


def test_for_a_cluster_sizes_in_the_store_are_read(s3: str) -> None:
    from sharpen.store import storage

    storage.write_bytes(f"{s3}/preset rows/a.jsonl", rows(20_000).encode())
    settings = load(None, [f"train_data={s3}/preset rows", "job.gpus_per_node=1"], preset="auto", on_cluster=True)
    assert settings.preset_note.startswith("preset hundreds: about 1,"), settings.preset_note
    assert "rows on 1 pod(s) of the cluster with 1 GPU(s) each: fewer than 5,000" in settings.preset_note
