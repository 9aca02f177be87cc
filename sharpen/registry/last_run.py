"""What the last finished run of a model trained with, so that no run repeats it.

``<root>/models/<name>/last_run.json`` is replaced by conditional writes, and names a file of hashes in ``examples/``
beside it, so that the record outlives the run's own folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from sharpen.errors import StepFailed
from sharpen.registry.earlier_runs import held_out
from sharpen.registry.run_record import LastRun, TrainingInputs
from sharpen.registry.versions import checked_name
from sharpen.run_context import run_id
from sharpen.store import storage
from sharpen.terminal import printable

logger = logging.getLogger(__name__)

SKIP = "skip"

_TRIES = 5
_EXAMPLES = re.compile(r"/examples/[0-9a-f]{16}\.u64(\?.*)?$")


def read(root: str, name: str) -> LastRun | None:
    """The last finished run of a model; None when there is none. Raises InputError when the record is damaged."""
    return _read(root, name)[0]


def record_run(root: str, name: str, seen: TrainingInputs, verdict: str, version: str, reason: str) -> None:
    """Record that this process's run has finished, and what it held out.

    Args:
        root, name, seen: as `remember`.
        verdict: ``promote``, ``reject`` or ``overtaken``.
        version: address of the promoted version; empty for none.
        reason: why it ended so.
    """
    number = version.partition("?")[0].rstrip("/").rpartition("/")[2]
    held_out.keep(root, name, seen.held_out)
    made = remember(root, name, seen, verdict=verdict, version=number, run_id=run_id(), reason=reason)
    logger.info(printable(f"{name}: {made.seen.count:,} examples are known from {made.told}"))


def remember(
    root: str, name: str, seen: TrainingInputs, *, verdict: str, version: str, run_id: str, reason: str = ""
) -> LastRun:
    """Record that a run has finished; it replaces the record of the run before.

    Args:
        root, name: of the registry and of the model.
        seen: what the run trained with.
        verdict: as `LastRun.verdict`.
        version: the version that the run made the champion; empty for none.
        run_id: the run.
        reason: why it ended so.

    Raises:
        InputError: the hashes of the examples are gone.
        StepFailed: other runs of this model replace the record all the time.
    """
    data = storage.read_bytes(seen.examples)
    kept = storage.join(_folder(root, name), "examples", f"{hashlib.sha256(data).hexdigest()[:16]}.u64")
    storage.write_bytes(kept, data)
    made = LastRun(
        run_id, _now(), verdict, version, replace(seen, examples=kept, trained="", held_out=""), reason=reason
    )
    before = _replace(root, name, lambda _: made)
    # a damaged record may name anything
    if before is not None and before.seen.examples != kept and _EXAMPLES.search(before.seen.examples):
        storage.delete(before.seen.examples)
    return made


def record_skip(root: str, name: str, *, reason: str, sources: str, least: int) -> None:
    """Record that this process's run was skipped; what is new stays counted from the last finished run.

    Args:
        root, name: of the registry and of the model.
        reason: why.
        sources, least: what it looked at, as `LastRun.skipped` has them.
    """
    skipped = {"run_id": run_id(), "at": _now(), "reason": reason, "sources": sources, "least": str(least)}
    _replace(root, name, lambda last: replace(last, skipped=skipped) if last else None)
    logger.info(printable(reason))


def _replace(root: str, name: str, change: Callable[[LastRun | None], LastRun | None]) -> LastRun | None:
    """Put `change(record)` in the record's place; the record before."""
    for _ in range(_TRIES):
        last, etag = _read(root, name)
        made = change(last)
        if made is None:
            return last
        try:
            storage.write_json(_address(root, name), json.loads(made.as_json()), if_match=etag, if_absent=etag is None)
            return last
        except storage.PreconditionFailed:
            continue
    raise StepFailed(f"{name}: other runs replace {_address(root, name)} all the time; run one at a time")


def _read(root: str, name: str) -> tuple[LastRun | None, str | None]:
    try:
        data, etag = storage.read_with_etag(_address(root, name))
    except storage.NotFound:
        return None, None
    last = LastRun.from_json(data.decode("utf-8", "replace"))
    # a registry may be copied to another root
    if last is not None:
        file = last.seen.examples.partition("?")[0].rpartition("/")[2] or "none"
        last = replace(last, seen=replace(last.seen, examples=storage.join(_folder(root, name), "examples", file)))
    return last, etag


def _folder(root: str, name: str) -> str:
    return storage.join(root, "models", checked_name(name))


def _address(root: str, name: str) -> str:
    return storage.join(_folder(root, name), "last_run.json")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
