"""What a finished step gives to KFP: the facts of its output, its figures, its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.kfp_context import log_metrics
from sharpen.store import storage


@dataclass(frozen=True)
class StepResult:
    """What a step did.

    Attributes:
        address: of its output; empty where there was nothing to do.
        page: what the UI shows, HTML or Markdown.
        facts: metadata of the output.
        metrics: figures that the UI shows beside the step.
    """

    address: str
    page: bytes
    facts: dict[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, address: str, manifest: storage.Manifest, page: str, metrics: Mapping[str, float]) -> StepResult:
        """The result of a finished folder.

        Args:
            address: of the folder.
            manifest: its manifest, whose rows and facts become metadata.
            page: name of the file in it that is shown.
            metrics: figures.
        """
        shown = storage.read_bytes(storage.join(address, page))
        return cls(address, shown, {"rows": manifest.rows, **manifest.facts}, metrics)

    def publish(self, output: Any, metrics: Any, page: Any) -> str:
        """Fill KFP's artifacts for the output, the figures and the page; returns the address."""
        output.metadata.update(self.facts)
        log_metrics(metrics, self.metrics)
        Path(page.path).parent.mkdir(parents=True, exist_ok=True)
        Path(page.path).write_bytes(self.page)
        return self.address
