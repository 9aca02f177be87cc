"""Rankings that no embedding model made, written as an evaluation that others can be compared with."""

from __future__ import annotations

from typing import Any

from sharpen.evaluation.artifact import COUNTED, MARKED, EvaluationArtifact, write_scores
from sharpen.evaluation.facts import software, unjudged_facts
from sharpen.evaluation.inputs import Inputs
from sharpen.evaluation.retrieval import Rankings, score
from sharpen.run_context import run_id
from sharpen.store import storage
from sharpen.typed_json import sha256_json


def systems_folder(output: str) -> str:
    """Below which the evaluations of systems lie that were measured for the evaluation at `output`: next to it."""
    folder, mark, options = output.partition("?")
    return f"{folder.rstrip('/')}-systems{mark}{options}"


def publish_system(
    name: str, address: str, rankings: Rankings, description: dict[str, Any], inputs: Inputs
) -> EvaluationArtifact:
    """Score rankings and write them: metrics, per-query scores, run and facts, as of a model; no report.

    Args:
        name: of the system, in words.
        address: of the folder to write.
        rankings: query id -> (passage id, score), best first.
        description: what decides the scores; its hash stands for that of a model.
        inputs: what was measured.

    Returns:
        the evaluation.
    """
    values = score(inputs.eval_set, rankings, inputs.settings)
    facts = {"model": name, "model_hash": sha256_json(description), "system": description, **inputs.protocol}
    facts |= {"encoding": {}, **unjudged_facts(inputs.eval_set, rankings), **software()}
    marked = {key: facts[key] for key in (*MARKED, *COUNTED)}
    marked |= {metric: float(values[metric].mean()) for metric in inputs.settings.headline_metrics}
    with storage.publish(address, producer="evaluation", run_id=run_id(), rows=inputs.rows, facts=marked) as folder:
        write_scores(folder, inputs.dataset, inputs.eval_set, rankings, values, facts)
    return EvaluationArtifact.open(address)
