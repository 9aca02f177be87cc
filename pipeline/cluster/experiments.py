"""The experiment that holds the runs: found by its name, created if missing."""

from __future__ import annotations

from pipeline.cluster.api import named
from pipeline.cluster.api.client import Api
from sharpen.errors import InputError


def find(api: Api, name: str) -> str | None:
    """Id of the experiment of this name; None if there is none."""
    return named.find(api, "experiment", name)


def existing(api: Api, name: str) -> str:
    """Id of the experiment of this name.

    Raises:
        InputError: there is none.
    """
    if found := find(api, name):
        return found
    raise InputError(f"--experiment {name}: there is no such experiment; `sharpen submit` makes it")


def find_or_create(api: Api, name: str) -> str:
    """Id of the experiment of this name."""
    return named.find_or_create(api, "experiment", name)
