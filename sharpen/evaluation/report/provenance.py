"""What the report shows of the steps before: the training's log, the data's figures, the mining's figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sharpen.store import storage


@dataclass(frozen=True)
class Provenance:
    """Contents of training.json, merging.json, stats.json and the mining's report.json; empty where there is none."""

    training: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    mining: dict[str, Any] = field(default_factory=dict)
    merging: dict[str, Any] = field(default_factory=dict)


def load_provenance(model: str, data: str, negatives: str = "") -> Provenance:
    """Read what the earlier steps left.

    Args:
        model: address of the model; one that was not trained here has no training.json, one that is no result of
            merging no merging.json.
        data: address of the data set; the user's own files have no stats.json.
        negatives: address of the mining step's folder, or empty.

    Raises:
        InputError: `negatives` is named and is not a finished folder.
    """
    if negatives:
        storage.read_manifest(negatives)
    return Provenance(
        training=_read(model, "training.json"),
        data=_read(data, "stats.json") if storage.is_complete(data) else {},
        mining=_read(negatives, "report.json") if negatives else {},
        merging=_read(model, "merging.json"),
    )


def _read(address: str, name: str) -> dict[str, Any]:
    uri = storage.join(address, name)
    value = storage.read_json(uri) if storage.exists(uri) else {}
    return value if isinstance(value, dict) else {}
