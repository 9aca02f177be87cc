"""The launching step: what it hands to the job, what it takes from the task, what it gives back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl

from components.finetuning.component import finetuning
from components.finetuning.launch import launch_from_json
from sharpen.errors import InputError
from sharpen.jobs.cluster_backend import ClusterBackend
from sharpen.store import storage
from tests.sharpen.jobs.conftest import api  # noqa: F401
from tests.sharpen.jobs.fake_api import FakeApi
from tests.sharpen.jobs.stories import QUICK, RUN, Story, told


def test_what_is_set_on_the_task_is_for_the_job(tmp_path: Path) -> None:
    """The compiled pipeline hands it over, and applies the environment (the store's secrets) to the launcher too."""

    @dsl.pipeline(name="p")
    def pipeline():  # not annotated: kfp takes a deferred `None` for a type
        card = dsl.importer(artifact_uri="s3://b/card", artifact_class=dsl.Dataset).output
        cards = {"prepared_data": card, "mined_negatives": card}
        texts = dict.fromkeys(("data", "negatives", "base_model", "settings", "encoder", "job", "fingerprint"), "")
        task = finetuning(**texts, **cards)
        task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(2).set_memory_limit("64G")
        task.set_env_variable("NCCL_DEBUG", "INFO")

    compiler.Compiler().compile(pipeline, str(tmp_path / "p.yaml"))
    component = yaml.safe_load((tmp_path / "p.yaml").read_text())["components"]["comp-finetuning"]
    passed = {entry["field"]: entry.get("applyToTask", False) for entry in component["taskConfigPassthroughs"]}
    assert passed == {
        "RESOURCES": False,
        "KUBERNETES_TOLERATIONS": False,
        "KUBERNETES_NODE_SELECTOR": False,
        "KUBERNETES_AFFINITY": False,
        "KUBERNETES_VOLUMES": False,
        "ENV": True,
    }
    assert component["inputDefinitions"]["parameters"]["task_config"]["parameterType"] == "TASK_CONFIG"
    assert "job_manifest" in component["outputDefinitions"]["artifacts"]


@pytest.mark.store
def test_a_fine_tuning_as_a_job(
    s3: str,
    api: FakeApi,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = ClusterBackend.__init__
    monkeypatch.setattr(ClusterBackend, "__init__", lambda self, job, kind: original(self, job, kind, poll=QUICK))
    output, kept = f"{s3}/launched/model", f"{s3}/launched/job.yaml"
    story = Story(api)

    def act() -> None:
        story.pod()
        with storage.publish(output, producer="finetuning", run_id=RUN) as folder:
            (folder / "training.json").write_text('{"steps": 3}')
        story.succeed()

    texts = ('{"temperature": 0.05, "matryoshka_dims": [16, 8]}', '{"query_max_len": 48}', '{"cpu": "3"}')
    task: dict[str, Any] = {"resources": {"limits": {"nvidia.com/gpu": "1"}}, "volumes": None}
    with told(act):
        facts = launch_from_json("s3://b/data", "s3://b/negatives", "BAAI/bge-m3", output, *texts, task, kept)
    assert facts == {"steps": 3}
    manifest = yaml.safe_load(storage.read_bytes(kept))
    assert manifest["spec"] == story.job()["spec"]
    (container,) = manifest["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["resources"]["requests"]["cpu"] == "3"
    options = dict(zip(container["args"][3::2], container["args"][4::2], strict=True))
    assert options == {
        "--data": "s3://b/data",
        "--model": "BAAI/bge-m3",
        "--output": output,
        "--negatives": "s3://b/negatives",
        "--temperature": "0.05",
        "--matryoshka_dims": "[16, 8]",
        "--query_max_len": "48",
    }


def test_every_fault_of_the_settings_at_once() -> None:
    with pytest.raises(InputError) as caught:
        launch_from_json("d", "", "m", "o", '{"temperature": 0}', '{"query_max_len": 0}', '{"nodes": 0}')
    assert [fault.split(":")[0] for fault in caught.value.faults] == [
        "training.temperature",
        "encoder.query_max_len",
        "job.nodes",
    ]
