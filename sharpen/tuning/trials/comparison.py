"""Two models of a search on all dev queries: the figure with its interval."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpen.store import local_store, storage
from sharpen.tuning.space.groups import Groups

FILE = "comparison.json"
_REQUEST = "comparison-request.json"
_METRIC = "ndcg_at_10"


@dataclass(frozen=True)
class Side:
    """A model and the settings of its trial."""

    model: str
    groups: Groups


def compare_models(data: str, best: Side, start: Side, folder: Path) -> dict[str, Any]:
    """nDCG@10 on dev over the whole corpus of both models, in the size that is served, and their difference.

    Args:
        data: address of the prepared data.
        best, start: the models; the difference is the first less the second.
        folder: local folder for what is written meanwhile, and for the result.

    Returns:
        the fields of `significance.Paired`, and ``confidence_level``.
    """
    from sharpen.evaluation.artifact import COMPARISON, VARIANTS
    from sharpen.evaluation.evaluate import evaluate
    from sharpen.evaluation.settings import EvaluationSettings
    from sharpen.models.model_config import computing_part

    size = best.groups.training.served_size
    settings = EvaluationSettings.checked({"variants": [size]} if size else {})
    outputs = {name: str(folder / name) for name in ("start", "best")}
    for output in outputs.values():
        shutil.rmtree(output, ignore_errors=True)
    evaluate(start.model, data, "dev", outputs["start"], settings, computing_part(start.groups.encoder))
    # a name of those that are compared in sizes too
    references = {"base": outputs["start"]}
    encoder = computing_part(best.groups.encoder)
    evaluate(best.model, data, "dev", outputs["best"], settings, encoder, references=references)
    compared = storage.read_json(storage.join(outputs["best"], COMPARISON))
    if size:
        metrics = storage.read_json(storage.join(outputs["best"], VARIANTS))["variants"][1]["against"]["base"]
    else:
        metrics = compared["against"]["base"]["metrics"]
    found = {**metrics[_METRIC], "confidence_level": compared["confidence_level"]}
    local_store.replace(folder / FILE, json.dumps(found).encode(), private=True)
    for output in outputs.values():
        shutil.rmtree(output, ignore_errors=True)
    return found


def write_request(data: str, best: Side, start: Side, folder: Path) -> None:
    """Write what another process shall compare; arguments as for `compare_models`."""
    sides = {name: [side.model, side.groups.as_json()] for name, side in (("best", best), ("start", start))}
    local_store.replace(folder / _REQUEST, json.dumps({"data": data, **sides}).encode(), private=True)


def compare_as_requested(folder: Path) -> dict[str, Any]:
    """`compare_models` for what `write_request` wrote."""
    requested = json.loads((folder / _REQUEST).read_text(encoding="utf-8"))
    best, start = (Side(requested[name][0], Groups.from_json(requested[name][1])) for name in ("best", "start"))
    return compare_models(requested["data"], best, start, folder)
