"""Which ranks are looked at: the range of the settings, clipped to the corpus, and the depth of the rankings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sharpen.mining.settings import MiningSettings

# The report says in which share of queries a positive stands in the top 1, 10 and 100.
RANKS_SHOWN = (1, 10, 100)


@dataclass(frozen=True)
class RankRange:
    """Positions of a ranking, counted from 0.

    Attributes:
        start, end: negatives are taken from the positions start, ..., end - 1.
        further: how many positions after `end` serve for topping up.
        reach: how many passages each source ranks, for the range and for topping up.
        depth: how many the mining model's search returns for each query, to find the positives among them too.
        notices: what was clipped or not used, a line each.
    """

    start: int
    end: int
    further: int
    reach: int
    depth: int
    notices: list[str] = field(default_factory=list)


def rank_range(settings: MiningSettings, passages: int, notices: Sequence[str] = ()) -> RankRange:
    """The ranks that `settings` look at in a corpus of `passages` passages.

    A corpus that ends before the range leaves room for ``negative_number`` passages after its start has the range moved
    up: a start that was chosen for a large corpus would leave nothing of a small one. `notices` go before its own.
    """
    start, end = settings.ranks
    notices = list(notices)
    if passages < end:
        moved = min(start, max(0, passages - settings.negative_number))
        notices.append(
            f"range_for_sampling: the corpus has {passages:,} passages, so {start}-{end} became {moved}-{passages}"
        )
        start, end = moved, passages
    if passages <= settings.negative_number:
        notices.append(
            f"negative_number: {settings.negative_number} cannot be reached, the corpus has only {passages:,} passages"
        )
    further = settings.further_ranks if settings.top_up.startswith("further_ranks") else 0
    further = min(further, passages - end)
    reach = min(passages, max(end + further, settings.negative_number))
    depth = min(passages, max(reach, settings.consistency_top, *RANKS_SHOWN))
    return RankRange(start, end, further, reach, depth, notices)
