"""A guard set: general queries by which one sees what a model forgot while it learned a domain.

Each model is measured on it as on the test queries, over the guard set's own corpus. `GENERAL` is a sample that comes
with Sharpen: short passages on everyday subjects, several on each, so that a query has near misses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sharpen.data.readers import read_dataset
from sharpen.evaluation import artifact
from sharpen.evaluation.analysis.names import GENERAL
from sharpen.evaluation.artifact import EvaluationArtifact
from sharpen.evaluation.comparison import compare_tables
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.evaluation.split import EvaluationSplit, select_split
from sharpen.metrics import means

SAMPLE = Path(__file__).with_name(GENERAL)
# A step's fingerprint follows its code; a changed sample shows in it by this.
SAMPLE_SHA256 = "894daef1227bf659c7dc6124033cf938ea26bb0d640a0cacd2d3c5dd9e41aabc"


@dataclass(frozen=True)
class GuardSet:
    """The queries and their corpus.

    Attributes:
        name: as the setting has it.
        fingerprint: of the data.
        split: queries, corpus and judgements.
    """

    name: str
    fingerprint: str
    split: EvaluationSplit

    @property
    def facts(self) -> dict[str, Any]:
        """What must be equal of two models that are compared."""
        return {"name": self.name, "fingerprint": self.fingerprint}


def open_guard(settings: EvaluationSettings) -> GuardSet | None:
    """The guard set of the settings, or None. Raises InputError: no such data, or no judged test (or dev) query."""
    if not settings.guard_data:
        return None
    address = str(SAMPLE) if settings.guard_data == GENERAL else settings.guard_data
    dataset = read_dataset(address, "test")
    split = "dev" if not dataset.qrels_of("test") and dataset.qrels_of("dev") else "test"
    chosen = select_split(dataset, split, f"evaluation.guard_data: {address}", settings.relevance_level)
    return GuardSet(settings.guard_data, dataset.fingerprint(), chosen)


def write_guard(
    folder: Path,
    guard: GuardSet,
    values: Mapping[str, np.ndarray],
    references: Mapping[str, EvaluationArtifact],
    settings: EvaluationSettings,
) -> dict[str, Any]:
    """Write the figures of the guard set, compared with the references that were measured on the same.

    Args:
        folder: of the evaluation.
        guard: its queries.
        values: metric -> (queries,).
        references: name -> its evaluation.
        settings: how models are compared.

    Returns:
        guard.json: ``{"name", "fingerprint", "queries", "groups", "passages", "metrics": {metric: mean}, "against":
        {name: {metric: ...}}}``, a metric against a reference as in comparison.json.
    """
    table = artifact.write_per_query(folder / artifact.GUARD_PER_QUERY, guard.split, values)
    found = {
        **guard.facts,
        "queries": table.height,
        "groups": table["group"].n_unique(),
        "passages": len(guard.split.passage_ids),
        "metrics": means(values),
        "against": {
            name: compare_tables(name, reference.address, table, reference.guard, settings)
            for name, reference in references.items()
            if reference.guard is not None and reference.facts.get("guard") == guard.facts
        },
    }
    artifact.write_json(folder / artifact.GUARD, found)
    return found
