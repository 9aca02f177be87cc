"""What the last finished run of a model trained with, as steps pass it on: JSON text in a parameter.

Two steps must agree on it, the one that reads the user's data and the one that keeps the registry.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from sharpen import typed_json

OVERTAKEN, WAITING = "overtaken", "waiting"
_WHAT, _REMEDY = "record of the last run", "delete last_run.json in the registry"


@dataclass(frozen=True)
class TrainingInputs:
    """What a run is about to train with.

    Attributes:
        identity: what must be equal for two runs on equal data to end alike -> its SHA-256: ``settings``, ``code``,
            ``base_model``, ``mining`` (models and files that mining reads).
        content: SHA-256 of the prepared data.
        count: examples in them.
        examples: address of the hashes of all examples that were read.
        trained: address of the hashes of those that are trained on; empty where that is not known.
        held_out: address of the keys of the dev and test queries; empty where that is not known.
        data_plan, data_key: as JSON what was decided about the data (`data.preparation.data_plan.DataPlan`), and the
            SHA-256 of what else they depend on; empty in records of older versions.
        sources: SHA-256 of the content behind train_data and eval_data; empty in records of older versions.
    """

    identity: dict[str, str]
    content: str
    count: int
    examples: str
    sources: str = ""
    trained: str = ""
    held_out: str = ""
    data_plan: str = ""
    data_key: str = ""

    @classmethod
    def from_json(cls, *parts: str) -> Self:
        """The object whose fields the JSON objects hold together. Raises InputError when they hold something else."""
        objects = [typed_json.parse(dict[str, Any], part, _WHAT, remedy=_REMEDY) for part in parts]
        return _made(cls, json.dumps({name: value for part in objects for name, value in part.items()}))


@dataclass(frozen=True)
class LastRun:
    """A run that came to its end, whatever the gate said.

    Attributes:
        run_id: the run.
        finished_at: UTC, ISO 8601.
        verdict: ``promote``, ``reject``, ``waiting`` for approval, or ``overtaken`` where other runs changed the
            champion first.
        version: the version that it made the champion; empty when it promoted none.
        reason: why it ended so, in words.
        seen: what it trained with.
        skipped: the latest run that was skipped since: ``run_id``, ``at``, ``reason``, and what it looked at:
            ``sources`` and ``least`` (min_new_examples); empty for none.
    """

    run_id: str
    finished_at: str
    verdict: str
    version: str
    seen: TrainingInputs
    skipped: dict[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def told(self) -> str:
        """How a person knows the run: by the version that it made."""
        return self.version or f"run {self.run_id}, which was not promoted"

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self | None:
        """The object of `as_json`; None for empty text. Raises InputError when the text is something else."""
        return _made(cls, text) if text else None


def _made(kind: Any, text: str) -> Any:
    return typed_json.parse(kind, text, _WHAT, remedy=_REMEDY)
