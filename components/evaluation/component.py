"""The evaluation steps as Kubeflow Pipelines runs them: the models there are before training, then the tuned one.

Annotations are not postponed in this file: kfp reads the types themselves, not their names.
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Artifact, Output

from components.kfp_context import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluation_before(
    base_model: str,
    champion_model: str,
    data: str,
    split: str,
    settings: str,
    encoder: str,
    fingerprint: str,
    before_evaluations: Output[Artifact],
    before_report: Output[HTML],
) -> NamedTuple("Before", [("base", str), ("champion", str), ("systems", str)]):  # type: ignore[valid-type]
    """Measure what the tuned model is compared with: the base model, the champion, and the systems of the settings.

    Args:
        base_model: Folder, s3:// address or hub id of the base model.
        champion_model: Address of the champion; empty while there is none.
        data: Address of the data set.
        split: Split whose queries are searched.
        settings: Evaluation settings as JSON.
        encoder: Encoder settings of the run as JSON.
        fingerprint: Fingerprint of data, models and code; it only makes caching right.
        before_evaluations: Says where the folder is with the evaluation of each: metrics, per-query scores, the run.
        before_report: The report of the champion, or of the base model while there is no champion.

    Returns:
        The addresses of the evaluations; that of the champion is empty while there is none, and those of the systems
        are a JSON object, by name.
    """
    from components.evaluation.step import Measurement, measure_before
    from components.kfp_context import exit_on_error, output_uri

    with exit_on_error("evaluation-before"):
        address = output_uri(before_evaluations.uri, "evaluation-before")
        measurement = Measurement.from_json(data, split, settings, encoder)
        before = measure_before(address, measurement, base_model, champion_model)
        before.result.publish(before_evaluations, before_report)
    return before.base, before.champion, before.systems  # type: ignore[return-value]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluation(
    model: str,
    data: str,
    split: str,
    settings: str,
    encoder: str,
    fingerprint: str,
    base: str,
    champion: str,
    negatives: str,
    without: str,
    tuned_evaluation: Output[Artifact],
    tuned_report: Output[HTML],
    name: str = "evaluation",
    new_champion: str = "",
    systems: str = "{}",
) -> str:
    """Measure the tuned model on a split, and compare it with base model and champion on the same queries.

    Args:
        model: Address of the tuned model.
        data: Address of the data set.
        split: Split whose queries are searched.
        settings: Evaluation settings as JSON.
        encoder: Encoder settings of the run as JSON.
        fingerprint: Fingerprint of data, models and code; it only makes caching right.
        base: Address of the finished evaluation of the base model.
        champion: Address of the finished evaluation of the champion, or empty.
        negatives: Address of the mined negatives, for the report, or empty.
        without: Address of a file of keys of queries that are left out, or empty.
        tuned_evaluation: Says where the folder is with metrics, per-query scores, the run and the comparison.
        tuned_report: The report to look at.
        name: Name of this use of the step; it is part of the output's address.
        new_champion: Address of a model that has become the champion since, which is measured first; empty for none.
        systems: Addresses of finished evaluations of other systems, a JSON object by name.

    Returns:
        The address of the evaluation.
    """
    import json

    from components.evaluation.step import Measurement, measure_tuned
    from components.kfp_context import exit_on_error, output_uri

    with exit_on_error(name):
        address = output_uri(tuned_evaluation.uri, name)
        measurement = Measurement.from_json(data, split, settings, encoder)
        against = {"base": base, "champion": champion, **json.loads(systems)}
        result = measure_tuned(address, measurement, model, against, new_champion, negatives=negatives, without=without)
        return result.publish(tuned_evaluation, tuned_report)
