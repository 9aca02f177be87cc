"""An approximate index over the passages of a large corpus, and what of the exact ranking it was measured to find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharpen.index import ann
from sharpen.index.ann import Effort
from sharpen.index.exact import Neighbours


@dataclass(frozen=True)
class Approximate:
    """A FAISS index of the passages, its factory string, and how hard it is searched."""

    index: Any
    factory: str
    effort: Effort

    def blocks(self, queries: np.ndarray, passages: np.ndarray, depth: int) -> Iterator[Neighbours]:
        """The search's answer, a block of consecutive queries at a time."""
        return ann.approximate_blocks(self.index, queries, passages, depth, factory=self.factory, effort=self.effort)


def approximated(queries: np.ndarray, passages: np.ndarray, depth: int, factory: str, seed: int) -> Approximate | None:
    """The index of this factory string, with enough effort for `depth` ranks; None for the exact search."""
    if factory == ann.EXACT:
        return None
    index = ann.build_index(passages, factory, seed=seed)
    effort = ann.measured_recall(index, queries, passages, depth, factory=factory, seed=seed)
    return Approximate(index, factory, effort)


def search_facts(approximate: Approximate | None) -> dict[str, Any]:
    """What the report says of a search."""
    if approximate is None:
        return {"index": ann.EXACT}
    effort = approximate.effort
    return {
        "index": approximate.factory,
        "recall": effort.recall,
        "ranks": effort.k,
        "queries": effort.queries,
        "looked_at": effort.looked_at,
        "candidates_per_hit": effort.candidates_per_hit,
    }
