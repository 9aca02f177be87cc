"""The output of a job's pods outlives them, in a real object store."""

from __future__ import annotations

import pytest

from sharpen.errors import StepFailed
from sharpen.jobs.kubernetes import log_archive
from sharpen.jobs.kubernetes.logs import LogTail
from sharpen.store import storage
from tests.sharpen.jobs.fake_api import FakeApi
from tests.sharpen.jobs.stories import KINDS, Story, a_job, backend, run, told

pytestmark = pytest.mark.store
ACCOUNT = {"service_account": "training"}


def saved(output: str) -> dict[str, str]:
    return {file.name: storage.read_bytes(file.uri).decode() for file in storage.list_files(f"{output}-logs")}


@pytest.mark.parametrize("kind", ["pytorchjob", "trainjob"])
def test_every_pods_output_is_copied(s3: str, api: FakeApi, kind: str) -> None:
    output = f"{s3}/archive/{kind}/model"
    story = Story(api, KINDS[kind])

    def act() -> None:
        for index in (0, 1):
            story.pod(index)
            api.write(story.pod_name(index), f"line of {index}", "[rank1]: more")
        api.wait_for(lambda: api.count("get", "pods/log"))
        # a start that fails, in another start's output nothing of it is left
        story.ended(1, index=1, restarted=True)
        api.write(story.pod_name(1), "second start")
        story.looked()
        story.succeed(output)

    job = backend(a_job(output, nodes=2, **ACCOUNT), kind)
    with told(act):
        job.submit(job.build())
        job.result(job.watch())
    assert job.logs == f"{output}-logs"
    assert saved(output) == {
        "node-0.log": "line of 0\n[rank1]: more\n",
        "node-1.start-1.log": "line of 1\n[rank1]: more\n",
        "node-1.log": "second start\n",
    }


def test_a_failed_job_names_the_folder_and_a_lost_pod_is_there_as_far_as_it_was_seen(
    s3: str, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    output = f"{s3}/archive/failed/model"
    story = Story(api)

    def act() -> None:
        name = story.pod()
        api.write(name, "loss 2.0")
        story.looked()
        api.remove("", "pods", name)
        story.looked()
        story.fail("no luck")

    with told(act), pytest.raises(StepFailed):
        run(a_job(output))
    assert saved(output) == {"node-0.log": "loss 2.0\n"}
    assert f"output of the job's pods: {output}-logs" in capsys.readouterr().out


def test_a_store_that_does_not_take_them_is_a_warning(
    s3: str, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    output = f"{s3}/archive/unwritable/model"
    story = Story(api)

    def act() -> None:
        api.write(story.pod(), "a line")
        api.wait_for(lambda: api.count("get", "pods/log"))
        story.looked()
        story.succeed(output)

    job = backend(a_job(output))
    job._archive.address = "s3://nowhere/x"
    with told(act):
        job.submit(job.build())
        job.result(job.watch())
    assert job.logs == ""
    assert "the job's logs are not copied to s3://nowhere/x (" in capsys.readouterr().out


def test_only_the_last_bytes_are_kept() -> None:
    assert log_archive.LOG_BYTES == 10 * 2**20
    tail = LogTail(12)
    for line in ("first", "second", "third"):
        tail.add(line)
    assert bytes(tail) == b"third\n"
    tail.add("more")
    assert bytes(tail) == b"third\nmore\n"
