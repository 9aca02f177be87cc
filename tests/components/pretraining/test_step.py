"""The step as kfp.local runs it, from settings to page, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.pretraining.component import pretraining
from components.pretraining.launch import launch_from_json
from sharpen.errors import InputError
from sharpen.run_context import RUN_VARIABLE
from sharpen.store import storage


@pytest.mark.model
def test_the_component_trains_in_a_job_of_its_own(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"_id": str(number), "text": f"the dog ran home {number}"} for number in range(12)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv(RUN_VARIABLE, str(tmp_path / "run"))
    model, page, manifest = (
        SimpleNamespace(uri=str(tmp_path / name), path=str(tmp_path / name), metadata={})
        for name in ("model", "page.html", "manifest.json")
    )
    address = pretraining.python_func(
        data=str(tmp_path / "corpus.jsonl"),
        base_model=str(tiny_model),
        settings=json.dumps({"max_steps": 3, "train_batch_size": 4, "logging_steps": 1}),
        encoder=json.dumps({"precision": "fp32", "passage_max_len": 24}),
        job="{}",
        fingerprint="",
        task_config=SimpleNamespace(),
        prepared_data=None,
        pretrained_model=model,
        pretraining_page=page,
        job_manifest=manifest,
    )
    assert storage.is_complete(address) and storage.exists(storage.join(address, "config_sharpen.json"))
    assert model.metadata["address"] == address and model.metadata["base_model"] == str(tiny_model)
    shown = Path(page.path).read_text()
    words = ("Content-Security-Policy", "Pre-training", "passages, 0 of them cut", "retromae")
    for text in (*words, "Loss of the decoder", "comes without the head"):
        assert text in shown


def test_faults_of_all_settings_are_told_at_once() -> None:
    with pytest.raises(InputError) as raised:
        launch_from_json("d", "m", "o", '{"method": "bert"}', '{"pooling": 1}', '{"nodes": 0}')
    named = [line.split(":")[0] for line in raised.value.faults]
    assert named == ["pretraining.method", "encoder.pooling", "job.nodes"]
