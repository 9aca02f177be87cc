"""Runs on the server: found by id or name, ended, tried again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from pipeline.cluster.api.client import Api, Object, equals_filter
from pipeline.cluster.api.errors import KfpError
from sharpen.errors import InputError, StepFailed

FINISHED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def find(api: Api, run: str, *, experiment: str | None = None) -> Object:
    """The run of this id or name, with the states of its tasks.

    Args:
        api: the API.
        run: id, or a name that only one run has.
        experiment: id of the experiment to look for the name in; None: all.

    Raises:
        InputError: there is none, or there are several of the name.
    """
    place = " in the experiment" if experiment else ""
    if _ID.fullmatch(run.lower()):
        run = run.lower()
    else:
        named = [found for found in latest(api, experiment, 1000, name=run) if found.get("storage_state") != "ARCHIVED"]
        if not named:
            raise InputError(f"{run}: no run{place} has this id or name; `sharpen status` lists the latest")
        if len(named) > 1:
            ids = ", ".join(str(found["run_id"]) for found in named[:5])
            raise InputError(f"{run}: {len(named)} runs have this name; give the id of one: {ids}")
        run = str(named[0]["run_id"])
    return get(api, run)


def get(api: Api, identity: str) -> Object:
    """The run of this id. Raises InputError when there is none."""
    try:
        return api.call("read the run", api.runs.run_service_get_run, run_id=identity)
    except KfpError as fault:
        if fault.status == 404:
            raise InputError(f"{identity}: there is no such run; `sharpen status` lists the latest") from None
        raise


def latest(api: Api, experiment: str | None, count: int, *, name: str = "") -> list[Object]:
    """The newest runs, the newest first.

    Args:
        api: the API.
        experiment: id of the experiment; None: of all.
        count: how many at most.
        name: only runs of this name; empty: of any.
    """
    listed = api.paginate(
        "list runs",
        "runs",
        api.runs.run_service_list_runs,
        experiment_id=experiment,
        namespace=None if experiment else api.namespace or None,
        sort_by="created_at desc",
        filter=equals_filter("display_name", name) if name else None,
    )
    return list(islice((run for run in listed if not name or run.get("display_name") == name), count))


def unfinished(api: Api, experiment: str) -> Iterator[Object]:
    """The runs of an experiment that have not ended."""
    for run in latest(api, experiment, 10_000):
        if state(run) not in (*FINISHED, "CANCELING"):
            yield run


def cancel(api: Api, run: Object) -> str:
    """End a run; the state that it had ended in before, empty if it is ended now."""
    if state(run) in FINISHED:
        return state(run)
    try:
        api.call("cancel the run", api.runs.run_service_terminate_run, run_id=run["run_id"])
    except KfpError:
        # it may have ended in between
        ended = state(get(api, str(run["run_id"])))
        if ended not in FINISHED:
            raise
        return ended
    return ""


def retry(api: Api, run: Object) -> None:
    """Let a run that failed or was cancelled go on: what succeeded stays, the rest is done again.

    Raises:
        InputError: the run has neither failed nor been cancelled, or it is archived.
        StepFailed: it is not known whether the run goes on.
    """
    name, identity = run.get("display_name"), str(run["run_id"])
    if state(run) not in ("FAILED", "CANCELED"):
        raise InputError(f"{name}: {in_words(state(run))}; only a run that failed or was cancelled can be tried again")
    if run.get("storage_state") == "ARCHIVED":
        raise InputError(f"{name}: is archived; restore it in Kubeflow's pages, then try it again")
    try:
        api.call_without_retry("try the run again", api.runs.run_service_retry_run, run_id=identity)
    except KfpError as fault:
        if not fault.passing or fault.status == 429:
            raise api.explained(fault) from None
        # the answer is lost, or is that a run which goes on cannot be tried again
        if state(get(api, identity)) in FINISHED:
            raise StepFailed(f"{name}: cannot be tried again now: {fault}") from None


def state(run: Object) -> str:
    """The run's state, as the API says; ``CANCELED`` where Kubeflow says that what was terminated has failed."""
    shown = str(run.get("state") or "PENDING").replace("RUNTIME_STATE_UNSPECIFIED", "PENDING")
    if shown != "FAILED":
        return shown
    for entry in reversed(run.get("state_history") or []):
        if entry.get("state") == "CANCELING":
            return "CANCELED"
        # it was tried again since
        if entry.get("state") in ("PENDING", "RUNNING"):
            break
    return shown


def in_words(state: str) -> str:
    """A run's state as a person says it, such as ``running`` or ``cancelled``."""
    return state.lower().replace("cancel", "cancell")
