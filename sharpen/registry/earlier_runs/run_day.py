"""The day from which a run's windows are counted back: the same when the run is tried again on another day."""

from __future__ import annotations

from datetime import UTC, datetime

from sharpen.registry.versions import checked_name
from sharpen.run_context import LOCAL_RUN, run_id
from sharpen.store import storage


def run_day(root: str, name: str) -> str:
    """The day (UTC, ISO 8601) on which this process's run first asked; today where the process belongs to no run.

    It stands in the registry beside what the run came to.

    Args:
        root, name: of the registry and of the model.
    """
    today, run = datetime.now(UTC).date().isoformat(), run_id()
    if run == LOCAL_RUN:
        return today
    address = storage.join(root, "models", checked_name(name), "outcomes", f"{run}.day")
    try:
        storage.write_bytes(address, today.encode(), if_absent=True)
        return today
    except storage.PreconditionFailed:
        return storage.read_bytes(address).decode()
