"""The suite's own parts that need no cluster: variables, waiting, commands, the table."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest

from tests.cluster import command, waiting
from tests.cluster.command import Command
from tests.cluster.environment import ROOT, Environment, from_variables, missing
from tests.cluster.live.timing import covered, overhead
from tests.cluster.waiting import wait_for

SET = {"KUBECONFIG": "/k", "KFP_ENDPOINT": "http://k", "SHARPEN_TEST_IMAGE": "r/x:1"}


def test_without_a_cluster_the_reason_names_what_is_missing() -> None:
    assert missing({"KUBECONFIG": "/k"}).startswith("set KFP_ENDPOINT, SHARPEN_TEST_IMAGE: ")
    assert missing({**SET, "KFP_ENDPOINT": ""}).startswith("set KFP_ENDPOINT: ")
    assert missing(SET) == ""
    found = from_variables({**SET, "SHARPEN_TEST_NAMESPACE": "team", "SHARPEN_TEST_ACCOUNT": ""})
    assert (found.namespace, found.account, found.image) == ("team", "sharpen-pipeline", "r/x:1")


def test_the_readme_has_every_variable() -> None:
    text = (ROOT / "tests/cluster/README.md").read_text()
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", text, re.MULTILINE))
    assert set(rows) == {found.metadata["variable"] for found in fields(Environment)}


def test_waiting_ends_with_the_value_at_the_deadline_or_when_it_is_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.01)
    answers = iter([None, [], "there"])
    assert wait_for("it", lambda: next(answers), 5) == "there"
    with pytest.raises(AssertionError, match="no job: the run ended"):
        wait_for("job", lambda: None, 60, stop=lambda: "the run ended")
    monkeypatch.setenv("SHARPEN_TEST_PATIENCE", "0.1")
    started = time.monotonic()
    with pytest.raises(AssertionError, match=r"no job within 0 s"):
        wait_for("job", lambda: None, 1)
    assert time.monotonic() - started < 0.9


@pytest.fixture
def python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are programs of Python here, the program in place of the command's name."""
    monkeypatch.setattr(command, "SHARPEN", (sys.executable, "-c"))
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.01)


@pytest.mark.usefixtures("python")
def test_a_commands_lines_are_read_as_they_come(tmp_path: Path) -> None:
    program = (
        "import sys, time; print('first'); print('fault', file=sys.stderr); time.sleep(0.5); print('last'); exit(3)"
    )
    run = Command([program], tmp_path)
    first = run.line("fir", 20)
    assert (first.text, first.stream) == ("first", "out")
    assert run.process.poll() is None
    last = run.line("last", 20)
    assert 0.3 < last.at - first.at < 10
    assert run.end(20) == 3
    assert run.ended >= last.at
    assert [line.text for line in run.lines if line.stream == "err"] == ["fault"]
    with pytest.raises(AssertionError, match=r"(?s)no line with 'never': .* exit code 3.*first"):
        run.line("never", 20)


@pytest.mark.usefixtures("python")
def test_a_command_that_does_not_end_is_told_with_its_output_and_killed(tmp_path: Path) -> None:
    run = Command(["import time; print('here'); time.sleep(60)"], tmp_path)
    run.line("here", 20)
    with pytest.raises(AssertionError, match=r"(?s)did not end within 0 s\nhere"):
        run.end(0.1)
    run.kill()
    assert run.process.returncode == -9
    run.kill()


def test_time_that_nothing_computed_in() -> None:
    assert covered([]) == 0
    assert covered([(0, 2), (1, 3), (5, 6), (5.5, 5.7)]) == 4

    def pod(name: str, node: str, start: int, end: int) -> dict[str, object]:
        times = {"startedAt": f"2026-01-01T00:00:{start:02}Z", "finishedAt": f"2026-01-01T00:00:{end:02}Z"}
        status = {"containerStatuses": [{"name": "main", "state": {"terminated": times}}]}
        meta = {"name": name, "annotations": {"workflows.argoproj.io/node-name": node}}
        return {"metadata": meta, "status": status}

    pods = [
        pod("r-system-dag-driver-1", "r.root", 0, 9),
        pod("r-impl-2", "r.root.data-prep.executor", 10, 20),
        pod("r-impl-3", "r.root.finetuning(0).executor", 20, 50),
        pod("sharpen-finetuning-master-0", "", 30, 45),
    ]
    assert overhead(pods, 60) == 60 - 10 - 15


SUITE = """
import pytest

pytestmark = pytest.mark.cluster

def test_that_passes(figures):
    figures.note("pods", 12, "pods")
    figures.soon("ended", 5, 10)

def test_that_is_too_slow(figures):
    figures.soon("a | b", 25, 10)

def test_that_breaks():
    raise ValueError("first line\\nsecond")

def test_that_skips():
    pytest.skip("there is no Kueue")

@pytest.fixture
def broken():
    yield
    raise RuntimeError("left behind")

def test_that_leaves_something(broken):
    pass
"""


def test_every_test_is_a_row_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    page = tmp_path / "made" / "table.md"
    own = {"SHARPEN_TEST_RESULTS": str(page), "SHARPEN_TEST_PATIENCE": "2", "PYTHONPATH": str(ROOT)}
    options = ["-p", "tests.cluster.conftest", "-p", "no:cacheprovider", "-o", "markers=cluster", "--tb=no"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | SET | own,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    rows = [
        re.sub(r" \d+ s \|", " N s |", line, count=1) for line in page.read_text().splitlines() if line[:6] == "| that"
    ]
    assert rows == [
        "| that passes | passed | N s | pods 12 pods; ended 5 of 20 s |",
        r"| that is too slow | failed | N s | a \| b 25 of 20 s; AssertionError: a \| b after 25 s, 20 s at most |",
        "| that breaks | failed | N s | ValueError: first line |",
        "| that skips | skipped | N s | there is no Kueue |",
        "| that leaves something | failed | N s | RuntimeError: left behind |",
    ]
    assert "Image r/x:1, namespace kubeflow, limits times 2." in page.read_text()
    shown = done.stdout[done.stdout.index("on the cluster") :]
    assert re.search(r"failed +\d+ s  that is too slow\n +a | b 25 of 20 s", shown)


def test_without_variables_the_suite_is_skipped_and_says_why() -> None:
    plain = {name: value for name, value in os.environ.items() if name not in SET}
    options = ["-m", "cluster", "-rs", "-p", "no:cacheprovider", "-n", "0"]
    command = [sys.executable, "-m", "pytest", *options, "tests/cluster/live/test_jobs.py"]
    done = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "set KUBECONFIG, KFP_ENDPOINT, SHARPEN_TEST_IMAGE: tests/cluster/README.md" in done.stdout
    assert "on the cluster" not in done.stdout
