"""The promotion step between its KFP face and the library: addresses and JSON in, what the run does next out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpen.errors import StepFailed
from sharpen.registry.gate import PROMOTE, REJECT
from sharpen.registry.outcome import measured_outcome
from sharpen.registry.pages import promotion_page
from sharpen.registry.promote import Promotion, promote
from sharpen.registry.run_record import OVERTAKEN
from sharpen.registry.settings import PromotionSettings
from sharpen.run_context import run_id
from sharpen.terminal import printable

# what the pipeline does next; its conditions are named so too
INDEX, PROMOTED, COMPARE_AGAIN, NOT_PROMOTED = "index", "promoted", "compare again", "not promoted"


@dataclass(frozen=True)
class PromotionResult:
    """A promotion, and what follows.

    Attributes:
        promotion: how it ended.
        follows: ``index``: it is the champion, and its index is wanted; ``promoted``; ``compare again``, with the
            champion of now; ``not promoted``.
        reason: why, in one line, for the record of the run.
        page: Markdown for people.
        block: the run's outcome as its log holds it; empty where another comparison follows.
    """

    promotion: Promotion
    follows: str
    reason: str
    page: str
    block: str

    def publish(self, page: Any, evaluation: str) -> None:
        """Write the page, and print how the promotion ended."""
        Path(page.path).write_text(self.page, encoding="utf-8")
        facts = {"verdict": self.promotion.verdict, "version": self.promotion.version, "reasons": [self.reason]}
        page.metadata.update(**facts, evaluation=evaluation)
        print(self.block or printable(f"{self.follows}: {self.reason}"))

    @property
    def outputs(self) -> tuple[str, str, str, str, str]:
        """What the component returns."""
        return self.follows, self.promotion.verdict, self.promotion.version, self.promotion.champion, self.reason


def run_step(
    model: str, evaluation: str, name: str, root: str, settings: str, with_index: str, *, again: bool
) -> PromotionResult:
    """Promote as the pipeline asks; the rest is the component's. Raises what `promote` raises.

    The first try follows a gate that has passed the same evaluation; the second decides by itself.

    Args:
        model, evaluation, name, root: as `promote` takes them.
        settings: as JSON.
        with_index: yes or no.
        again: another comparison may follow.
    """
    rules = PromotionSettings.from_json(settings, where="promotion.")
    ended = promote(model, evaluation, name, root, rules)
    reason = "; ".join(ended.reasons)
    if ended.verdict == REJECT and again:
        raise StepFailed(f"{name}: the step gate let this evaluation pass, but the same rules now say: {reason}")
    if ended.verdict == PROMOTE:
        follows = INDEX if with_index == "yes" and ended.version else PROMOTED
    elif ended.verdict == OVERTAKEN and again:
        follows = COMPARE_AGAIN
    else:
        follows = NOT_PROMOTED
        if ended.verdict == OVERTAKEN:
            reason = (
                f"other runs changed the champion each time that this run had compared its model with it: {reason}; "
                f"the model is at {model}; run again, and it is compared with the champion of then"
            )
    block = ""
    if follows != COMPARE_AGAIN:
        block = measured_outcome(
            evaluation,
            name,
            root,
            rules,
            verdict=ended.verdict,
            reasons=[reason] if ended.verdict == OVERTAKEN else ended.reasons,
            version=ended.version,
            run=run_id(),
            indexed=follows == INDEX,
        ).block(root)
    return PromotionResult(ended, follows, reason, promotion_page(follows, reason, ended.version, name, root), block)
