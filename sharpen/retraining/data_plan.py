"""What earlier runs and the windows of a run say about its data, as one object for the step that prepares them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from sharpen.data.preparation.data_plan import DataPlan
from sharpen.registry.earlier_runs import held_out, trained_examples, trained_queries
from sharpen.registry.registry import read_champion
from sharpen.registry.run_record import LastRun
from sharpen.store import storage
from sharpen.typed_json import sha256_json


@dataclass(frozen=True)
class PlannedData:
    """A plan of the data, and how a later run knows that it needs no other.

    Attributes:
        plan: what the step gets.
        key: SHA-256 (hex) of everything besides the registry that the prepared data depend on.
    """

    plan: DataPlan
    key: str


def plan_data(
    root: str, name: str, last: LastRun | None, selection: DataPlan, *, settings: str, sources: str
) -> PlannedData:
    """Complete the plan of a run's data.

    A run that prepares what the last finished run prepared gets that run's plan, so that the cached data set answers:
    what that run held out is all that it would have to respect.

    Args:
        root, name: of the registry and of the model.
        last: the last finished run; None: there was none.
        selection: what the user set (`DataPlan.of`).
        settings: the settings of data preparation, as JSON.
        sources: SHA-256 of the content behind the sources.
    """
    plan = _of_champion(root, name, selection)
    key = sha256_json([sources, settings, asdict(plan)])
    if last and last.seen.data_key == key:
        before = DataPlan.from_json(last.seen.data_plan)
        if all(storage.exists(file) for file in (before.held_out, before.trained_queries) if file):
            return PlannedData(before, key)
    return PlannedData(_of_runs(root, name, plan), key)


def complete_plan(root: str, name: str, selection: DataPlan) -> DataPlan:
    """The plan with all that the earlier runs of a model fix.

    Args:
        root, name: of the registry and of the model.
        selection: what the user set (`DataPlan.of`).
    """
    return _of_runs(root, name, _of_champion(root, name, selection))


def _of_champion(root: str, name: str, plan: DataPlan) -> DataPlan:
    champion = read_champion(root, name) if plan.only_new else None
    examples = trained_examples.of_version(root, name, champion.version) if champion else ""
    return replace(plan, trained_examples=examples)


def _of_runs(root: str, name: str, plan: DataPlan) -> DataPlan:
    return replace(plan, held_out=held_out.newest(root, name), trained_queries=trained_queries.newest(root, name))
