"""Where a step runs: its image, its run, the address of its output, and how it ends.

The same component runs on a laptop and in a pod. In a pod KFP gives every output an address in the object store; on a
laptop it gives a local path, and the runner says through `SHARPEN_RUN` where the run's folders live.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sharpen import exit_status
from sharpen.console import enable_logging
from sharpen.errors import StepFailed
from sharpen.processes.garbage import collect_garbage_rarely
from sharpen.run_context import RUN_VARIABLE
from sharpen.store import retry, storage

# The images that components name: of steps that compute, and of those that only ask, decide and wait, which
# needs no torch. `pipeline.images` puts others in their place. kfp.local wants "python" in an image's name.
IMAGE = "localhost/sharpen-python-cpu:dev"
LAUNCHER_IMAGE = "localhost/sharpen-python-launcher:dev"


def output_uri(artifact_uri: str, step: str) -> str:
    """The address of a step's bulk output: beside KFP's artifact if that is in an object store, else ``<run>/<step>``.

    KFP copies whatever lies at or below an artifact's address into each pod that takes it as an input. So only a card
    is there (`write_card`), and what it describes is where no artifact's address is the beginning of its own.

    Raises:
        StepFailed: KFP gave a local path and `SHARPEN_RUN` is not set.
    """
    if storage.is_remote(artifact_uri):
        folder, mark, query = artifact_uri.partition("?")
        task, _, artifact = folder.rstrip("/").rpartition("/")
        return f"{task}/files/{artifact}{mark}{query}"
    run = os.environ.get(RUN_VARIABLE)
    if not run:
        raise StepFailed(f"{step}: no address for the output; set {RUN_VARIABLE} to a folder or s3:// address")
    return storage.join(run, step)


@contextmanager
def exit_on_error(step: str, *, first_contact: bool = False) -> Iterator[None]:
    """End the process as a user should see it: one line per fault of theirs, no traceback, the right exit code.

    KFP's executor shows what libraries log for their own debugging; from here on their warnings are shown, and what
    Sharpen logs.

    Args:
        step: the step's name.
        first_contact: no step of the run before this one has asked for the run's inputs, so that a store which never
            answers may be a wrong address.
    """
    if first_contact:
        retry.expect_first_contact()
    collect_garbage_rarely()
    logging.getLogger().setLevel(logging.WARNING)
    enable_logging()
    try:
        yield
    except Exception as error:
        known = exit_status.to_user_error(error)
        if known is None:
            exit_status.write_exit_status(step, 1, [f"{type(error).__name__}: {error}"])
            raise
        exit_status.write_exit_status(step, *known)
        sys.exit(known[0])


def log_metrics(metrics: Any, values: Mapping[str, float]) -> None:
    """Fill a KFP `Metrics` artifact: the figures that the UI shows for a step."""
    for name, value in values.items():
        metrics.log_metric(name, value)
    write_json(metrics.path, values)


def write_card(artifact: Any, address: str, facts: Mapping[str, Any]) -> None:
    """Say in a KFP artifact what it stands for: its address and its facts, as metadata and as its small file.

    Such artifacts are inputs of later steps, so that Kubeflow's lineage knows what a model was made of.
    """
    # KFP's metadata store knows no null
    artifact.metadata.update(
        {name: value for name, value in {**facts, "address": address}.items() if value is not None}
    )
    write_json(artifact.path, artifact.metadata)


def write_page(artifact: Any, page: str) -> None:
    """Write the HTML that Kubeflow's UI shows for an artifact."""
    Path(artifact.path).parent.mkdir(parents=True, exist_ok=True)
    Path(artifact.path).write_text(page, encoding="utf-8")


def write_json(path: str, values: Mapping[str, Any]) -> None:
    """Write an artifact's file: kfp.local takes an artifact without one for lost, and the step for not cached."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(dict(values), indent=2, sort_keys=True) + "\n", encoding="utf-8")
