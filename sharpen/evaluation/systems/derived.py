"""Systems that are made of a model's own ranking: its fusions with BM25, and a cross-encoder on top of it."""

from __future__ import annotations

from collections.abc import Mapping

from sharpen.errors import InputError
from sharpen.evaluation.artifact import EvaluationArtifact
from sharpen.evaluation.inputs import Inputs
from sharpen.evaluation.retrieval import Rankings, ranked_depth
from sharpen.evaluation.systems.fusion import RRF_K, reciprocal_rank, weighted_minmax
from sharpen.evaluation.systems.names import BM25, FUSION, FUSIONS, RERANKED, parse_systems
from sharpen.evaluation.systems.publish import publish_system, systems_folder
from sharpen.evaluation.systems.reranked import Reranker
from sharpen.settings import EncoderSettings
from sharpen.store import storage


def derive_systems(
    model: EvaluationArtifact,
    rankings: Rankings,
    references: Mapping[str, EvaluationArtifact],
    inputs: Inputs,
    encoder: EncoderSettings,
) -> dict[str, EvaluationArtifact]:
    """The systems of the settings that rest on a model's ranking, each written beside its evaluation.

    Args:
        model: its evaluation.
        rankings: what it retrieved.
        references: name -> evaluation of the same queries; fusions need that of bm25.
        inputs: what was measured.
        encoder: how the cross-encoder computes.

    Returns:
        name -> evaluation, of those that are not among the references.

    Raises:
        InputError: a fusion without bm25, or no such cross-encoder.
    """
    settings, found = inputs.settings, {}
    for system in parse_systems(settings.systems):
        if system.kind in FUSIONS and system.name not in references:
            if BM25 not in references:
                raise InputError("evaluation.systems: a fusion needs the evaluation of bm25; name bm25 too")
            address = storage.join(systems_folder(model.address), system.name)
            found[system.name] = _fused(system.kind, address, model, rankings, references[BM25], inputs)
    if settings.reranking_model and RERANKED not in references:
        reranker = Reranker(inputs.eval_set, settings, encoder)
        address = storage.join(systems_folder(model.address), RERANKED)
        found[RERANKED] = reranked(address, model, rankings, reranker, inputs)
    return found


def _fused(
    kind: str,
    address: str,
    model: EvaluationArtifact,
    rankings: Rankings,
    lexical: EvaluationArtifact,
    inputs: Inputs,
) -> EvaluationArtifact:
    depth, weight = ranked_depth(inputs.settings), inputs.settings.fusion_weight
    of_words = lexical.rankings(inputs.eval_set.query_ids, inputs.eval_set.passage_ids)
    pairs = {query_id: (rankings[query_id], of_words[query_id]) for query_id in inputs.eval_set.query_ids}
    if kind == FUSION:
        fused = {query_id: reciprocal_rank(pair, depth) for query_id, pair in pairs.items()}
        how = {"kind": kind, "method": "reciprocal ranks", "k": RRF_K}
    else:
        fused = {query_id: weighted_minmax(*pair, weight, depth) for query_id, pair in pairs.items()}
        how = {"kind": kind, "method": "scores scaled by their least and largest", "weight_of_model": weight}
    of = {"of": [model.facts["model_hash"], lexical.facts["model_hash"]]}
    return publish_system(f"{model.facts['model']} + {BM25}", address, fused, how | of, inputs)


def reranked(
    address: str, model: EvaluationArtifact, rankings: Rankings, reranker: Reranker, inputs: Inputs
) -> EvaluationArtifact:
    """The evaluation, written to `address`, of a cross-encoder on top of what a model (or bm25) retrieved.

    Args:
        address: of the folder to write.
        model: the evaluation of what retrieved.
        rankings: what it retrieved.
        reranker: the cross-encoder.
        inputs: what was measured.
    """
    how = {"kind": "reranked", "of": model.facts["model_hash"], "by": reranker.identity, "depth": reranker.depth}
    name = f"{model.facts['model']} + {reranker.address}"
    return publish_system(name, address, reranker.rerank(rankings), how, inputs)
