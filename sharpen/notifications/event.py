"""Something that people want to hear of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sharpen.notifications.settings import Kind


@dataclass(frozen=True)
class Event:
    """What became of a model.

    Attributes:
        kind: ``promoted``, ``refused``, ``waiting`` or ``failed``.
        model: its name in the registry.
        run: the run's id.
        summary: one sentence.
        reasons: why, a line each.
        version: number of the version; empty for none.
        addresses: what -> address: of the version, the champion and the report.
        figures: name -> number: gains and their intervals.
        commands: what to do next.
        at: when, UTC, ISO 8601.
    """

    kind: Kind
    model: str
    run: str
    summary: str
    reasons: Sequence[str] = ()
    version: str = ""
    addresses: dict[str, str] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    commands: Sequence[str] = ()
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
