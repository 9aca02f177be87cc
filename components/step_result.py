"""What a finished step gives to KFP: a card with the facts of its output, and its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from components.kfp_context import write_card, write_page
from sharpen.store import storage


@dataclass(frozen=True)
class StepResult:
    """What a step did.

    Attributes:
        address: of its output; empty where there was nothing to do.
        page: what the UI shows, HTML.
        facts: metadata of the output.
    """

    address: str
    page: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, address: str, manifest: storage.Manifest, page: str) -> StepResult:
        """The result of a finished folder.

        Args:
            address: of the folder.
            manifest: its manifest, whose rows and facts become metadata.
            page: name of the file in it that is shown.
        """
        shown = storage.read_bytes(storage.join(address, page)).decode("utf-8")
        return cls(address, shown, {"rows": manifest.rows, **manifest.facts})

    def publish(self, output: Any, page: Any) -> str:
        """Fill KFP's artifacts for the output and the page; returns the address."""
        write_card(output, self.address, self.facts)
        write_page(page, self.page)
        return self.address
