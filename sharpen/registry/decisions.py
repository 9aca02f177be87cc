"""Every decision of the gate, kept in the registry: how often a test set has decided, and what each run came to.

``<root>/decisions/<test set>/queries.u64`` holds the keys of the test queries, ``<verdict>-<id>.json`` beside it one
decision. A record is written only if it is absent and its id is made of the evaluation and the rules, so that a
decision that is repeated counts once, and any number of runs can write at the same time.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from sharpen.data import query_keys
from sharpen.errors import InputError
from sharpen.registry.gate import PROMOTE, REJECT, Decision
from sharpen.registry.gate.evaluation_summary import EvaluationSummary
from sharpen.registry.settings import PromotionSettings
from sharpen.run_context import run_id
from sharpen.store import storage

MANY = 10
"""Decisions of one test set from which on people are warned."""

SAME_TEST = 0.5
"""Share of the present test queries from which on an earlier test set counts as the same."""


@dataclass(frozen=True)
class Record:
    """One decision.

    Attributes:
        model: name in the registry.
        run_id, decided_at: of which run, and when (UTC, ISO 8601).
        verdict, reasons: the gate's.
        evaluation: address of the candidate's evaluation.
        metric: the one that decides.
        test: the decision's figures.
        dev: means on dev: ``candidate``, and each reference by its name; empty without dev.
        dev_queries: queries of dev.
        run_settings: what the user set for the run, as in the pipeline's `overrides`.
    """

    model: str
    run_id: str
    decided_at: str
    verdict: str
    reasons: list[str]
    evaluation: str
    metric: str
    test: dict[str, float]
    dev: dict[str, float] = field(default_factory=dict)
    dev_queries: int = 0
    run_settings: dict[str, Any] = field(default_factory=dict)


def record(
    root: str,
    name: str,
    measured: EvaluationSummary,
    decision: Decision,
    settings: PromotionSettings,
    run_settings: str = "",
) -> None:
    """Keep a decision; the same decision is kept once.

    Args:
        root, name: of the registry and of the model.
        measured, decision, settings: what was decided, how and by which rules.
        run_settings: what the user set for the run, as JSON.
    """
    keys = query_keys.read(storage.join(measured.address, query_keys.MEASURED))
    folder = storage.join(root, "decisions", _digest(query_keys.as_bytes(keys)))
    storage.write_bytes(storage.join(folder, "queries.u64"), query_keys.as_bytes(keys))
    on_dev = measured.dev.get("metrics", {})
    against = measured.dev.get("against", {})
    dev = {other: found[settings.metric]["reference"] for other, found in against.items() if settings.metric in found}
    made = Record(
        model=name,
        run_id=run_id(),
        decided_at=datetime.now(UTC).isoformat(timespec="seconds"),
        verdict=decision.verdict,
        reasons=decision.reasons,
        evaluation=measured.address,
        metric=settings.metric,
        test=decision.figures,
        dev={**dev, "candidate": on_dev[settings.metric]} if settings.metric in on_dev else {},
        dev_queries=int(measured.dev.get("queries", 0)),
        run_settings=json.loads(run_settings or "{}"),
    )
    file = f"{decision.verdict.replace(' ', '_')}-{_id(measured, settings)}.json"
    try:
        storage.write_json(storage.join(folder, file), asdict(made), if_absent=True)
    except storage.PreconditionFailed:
        return


def earlier(root: str, measured: EvaluationSummary, settings: PromotionSettings) -> int:
    """How often this test set has promoted or rejected before, under any model's name, this decision not counted.

    A test set counts as this one when it held at least `SAME_TEST` of the present queries, so that a split which grows
    with the data is known again.
    """
    keys = {*query_keys.read(storage.join(measured.address, query_keys.MEASURED))}
    own, count = _id(measured, settings), 0
    for test_set, names in _decisions(root).items():
        try:
            other = query_keys.read(storage.join(root, "decisions", test_set, "queries.u64"))
        except InputError:
            continue
        if keys and len(keys.intersection(other)) >= SAME_TEST * len(keys):
            count += sum(file.partition("-")[0] in (PROMOTE, REJECT) and own not in file for file in names)
    return count


def often(earlier: int) -> str:
    """The warning about a test set that has decided often."""
    return (
        f"This test set has decided {earlier:,} times. Whoever wins often enough on the same queries is partly lucky: "
        "the champion's figure here is above its true one. Bring fresh test queries as eval_data."
    )


def decision_record(decision: Decision, evaluation: str) -> str:
    """gate.json: the decision for programs, with the settings by which each side was measured."""
    values = {"evaluation": evaluation, **asdict(decision)}
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def records(root: str, name: str = "") -> list[Record]:
    """All decisions, the earliest first; those of one model, or of all. Raises InputError for a damaged record."""
    found = []
    for test_set, names in _decisions(root).items():
        for file in names:
            address = storage.join(root, "decisions", test_set, file)
            try:
                found.append(Record(**storage.read_json(address)))
            except (TypeError, ValueError) as error:
                raise InputError(f"{address}: damaged ({error!r}); delete it") from None
    return sorted((r for r in found if name in ("", r.model)), key=lambda r: (r.decided_at, r.run_id))


def _decisions(root: str) -> dict[str, list[str]]:
    """Test set -> files of its decisions."""
    found: dict[str, list[str]] = {}
    for file in storage.list_files(storage.join(root, "decisions")):
        test_set, _, rest = file.name.partition("/")
        if rest.endswith(".json"):
            found.setdefault(test_set, []).append(rest)
    return found


def _id(measured: EvaluationSummary, settings: PromotionSettings) -> str:
    # that nothing may be promoted is none of the rules
    rules = f"{settings.model_dump_json(exclude={'mode'})} {settings.require_significance}"
    return _digest(f"{measured.address.partition('?')[0]}\n{rules}".encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
