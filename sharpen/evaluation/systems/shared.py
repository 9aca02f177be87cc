"""Systems that do not depend on the model in question: BM25, a cross-encoder on top of it, other embedding models."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping

from sharpen.evaluation.artifact import EvaluationArtifact
from sharpen.evaluation.inputs import Inputs
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.evaluation.systems.derived import reranked
from sharpen.evaluation.systems.lexical import bm25_facts, bm25_rankings
from sharpen.evaluation.systems.names import BM25, BM25_RERANKED, FUSIONS, MODEL, parse_systems
from sharpen.evaluation.systems.publish import publish_system
from sharpen.evaluation.systems.reranked import Reranker
from sharpen.settings import EncoderSettings
from sharpen.store import storage

logger = logging.getLogger(__name__)


def shared_systems(settings: EvaluationSettings) -> dict[str, str]:
    """Name -> address, of a model, or empty, of the systems that `measure_systems` measures."""
    named = parse_systems(settings.systems)
    found = {system.name: system.address for system in named if system.kind in (BM25, MODEL)}
    if any(system.kind in FUSIONS for system in named):
        found.setdefault(BM25, "")
    if settings.reranking_model and BM25 in found:
        found[BM25_RERANKED] = ""
    return found


def measure_systems(
    data: str,
    split: str,
    folder: str,
    settings: EvaluationSettings,
    encoder: EncoderSettings,
    measure: Callable[[str, str], object],
    known: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Measure the systems of the settings that are not known yet, each into a folder below `folder`.

    Args:
        data, split: what is searched.
        folder: address below which their evaluations are written.
        settings: the systems, and what is measured.
        encoder: how the cross-encoder computes.
        measure: evaluates a model (address, address of the evaluation).
        known: name -> address of evaluations that are there; they are checked first.

    Returns:
        name -> address of each that was measured.

    Raises:
        InputError: no such data, split or model, or a known evaluation that was measured otherwise.
    """
    known = {name: address for name, address in (known or {}).items() if address}
    wanted = {name: address for name, address in shared_systems(settings).items() if name not in known}
    if not wanted:
        return {}
    inputs = Inputs.read(data, split, settings.of_references())
    inputs.open_references(known)
    found = {name: storage.join(folder, name) for name in wanted}
    for name, address in wanted.items():
        if address:
            logger.info(f"measuring {name}: {address}")
            measure(address, found[name])
    if BM25 in wanted or BM25_RERANKED in wanted:
        _measure_bm25(inputs, settings, encoder, {**known, **found}, wanted)
    return found


def _measure_bm25(
    inputs: Inputs,
    settings: EvaluationSettings,
    encoder: EncoderSettings,
    addresses: Mapping[str, str],
    wanted: Collection[str],
) -> None:
    """BM25 and the cross-encoder on top of it, those that are wanted, into their addresses."""
    rankings = bm25_rankings(inputs.eval_set, settings)
    if BM25 in wanted:
        publish_system(BM25, addresses[BM25], rankings, bm25_facts(settings), inputs)
    if BM25_RERANKED in wanted:
        reranker = Reranker(inputs.eval_set, settings, encoder)
        reranked(addresses[BM25_RERANKED], EvaluationArtifact.open(addresses[BM25]), rankings, reranker, inputs)
