"""Two runs of one model at the same time: both end well, and the registry holds what both did."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from tests.cluster.results import Figures
from tests.cluster.runs import Session

pytestmark = pytest.mark.cluster

_REGISTRY = """
import json
from sharpen.registry.registry import read_champion
from sharpen.store import storage
root, name = %r
champion = read_champion(root, name)
print("registry", json.dumps([champion and champion.version, storage.list_folders(f"{root}/models/{name}/versions")]))
"""


def test_two_runs_of_one_model(session: Session, cleanup: ExitStack, figures: Figures) -> None:
    racing = [session.submit(cleanup, session.new_training(), model="racing") for _ in range(2)]
    codes = [run.command.end(3600) for run in racing]
    texts = [run.command.text for run in racing]
    # 3: the other one was first and is not worse, which is told
    assert 0 in codes and set(codes) <= {0, 3}, "\n\n".join(texts)
    printed = session.in_pod("registry", _REGISTRY % ((session.store, f"{session.name}-racing"),))
    (line,) = [line for line in printed.splitlines() if line.startswith("registry ")]
    champion, versions = json.loads(line.removeprefix("registry "))
    assert len(versions) == codes.count(0)
    assert champion == max(versions)
    figures.note("compared again", sum(text.count(" evaluation: runs") > 1 for text in texts), "runs")
