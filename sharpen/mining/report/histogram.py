"""Score histograms of report.json."""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 20


def histograms(positives: np.ndarray, negatives: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """Counts of both kinds of scores in `BINS` bins with the same edges."""
    both = np.concatenate([positives, negatives]).astype(np.float64)
    edges = np.histogram_bin_edges(both, bins=BINS)
    return tuple(  # type: ignore[return-value]
        {
            "edges": [round(edge, 4) for edge in edges.tolist()],
            "counts": np.histogram(scores.astype(np.float64), bins=edges)[0].tolist(),
        }
        for scores in (positives, negatives)
    )
