"""The dev split, measured too: runs are compared with each other by it, so that test only decides.

Whoever tries ten settings and keeps the one that is best on test has trained on test. The gate alone looks at test; the
figures to tune by are those of dev, and every evaluation holds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sharpen.data.dataset import DataSet
from sharpen.evaluation import artifact
from sharpen.evaluation.artifact import EvaluationArtifact
from sharpen.evaluation.comparison import compare_tables
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.evaluation.split import EvaluationSplit, select_split
from sharpen.metrics import means

DEV = "dev"


def select_dev(dataset: DataSet, split: str, data: str, settings: EvaluationSettings) -> EvaluationSplit | None:
    """The labelled dev queries; None where there are none, or dev is what is measured. Arguments as for `evaluate`."""
    if split == DEV or not dataset.qrels_of(DEV):
        return None
    return select_split(dataset, DEV, data, settings.relevance_level)


def joined(first: EvaluationSplit, second: EvaluationSplit | None) -> EvaluationSplit:
    """The queries of both over their common corpus, so that each text is encoded once and searched once."""
    if second is None:
        return first
    return replace(
        first,
        query_ids=first.query_ids + second.query_ids,
        query_texts=first.query_texts + second.query_texts,
        instructions=first.instructions + second.instructions,
        groups=first.groups + second.groups,
        sources=first.sources + second.sources,
        qrels={**first.qrels, **second.qrels},
        left_out={**first.left_out, **second.left_out},
    )


def write_dev(
    folder: Path,
    dev: EvaluationSplit | None,
    values: Mapping[str, np.ndarray],
    references: Mapping[str, EvaluationArtifact],
    settings: EvaluationSettings,
) -> dict[str, Any]:
    """Write the figures of dev, compared with the references that have them too.

    Args:
        folder: of the evaluation.
        dev: its queries; None: there are none, which the file says.
        values: metric -> (queries,).
        references: name -> its evaluation.
        settings: how models are compared.

    Returns:
        dev.json: ``{"queries", "groups", "metrics": {metric: mean}, "against": {name: {metric: ...}}}``, a metric
        against a reference as in comparison.json.
    """
    found: dict[str, Any] = {"queries": 0, "groups": 0, "metrics": {}, "against": {}}
    if dev is not None:
        table = artifact.write_per_query(folder / artifact.DEV_PER_QUERY, dev, values)
        found |= {"queries": table.height, "groups": table["group"].n_unique(), "metrics": means(values)}
        found["against"] = {
            name: compare_tables(name, reference.address, table, reference.dev, settings)
            for name, reference in references.items()
            if reference.dev is not None
        }
    artifact.write_json(folder / artifact.DEV, found)
    return found
