"""The evaluation step as Kubeflow Pipelines runs it.

Annotations are not postponed in this file: kfp reads the types themselves, not their names.
"""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Metrics, Output

from components.kfp_context import IMAGE


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
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    report: Output[HTML],
    name: str = "evaluation",
    settings_of: str = "model",
    without: str = "",
) -> str:
    """Measure a model on a split, and compare it with others on the same queries.

    Args:
        model: Address of the model. Empty (there is no champion yet): nothing is measured and the output is empty.
        data: Address of the data set.
        split: Split whose queries are searched.
        settings: Evaluation settings as JSON.
        encoder: Encoder settings of the run as JSON.
        fingerprint: Fingerprint of data, models and code; it only makes caching right.
        base: Address of the finished evaluation of the base model, or empty.
        champion: Address of the finished evaluation of the present champion, or empty.
        negatives: Address of the mined negatives, for the report, or empty.
        evaluation: Folder with metrics, per-query scores, the run and the comparison.
        metrics: The figures, and their differences to base and champion.
        report: The report to look at.
        name: Name of this use of the step; it is part of the output's address.
        without: Address of a file of keys of queries that are left out, or empty.
        settings_of: model: it is measured as its own folder says. better, for a base model: so, or with the run's
            encoder settings, whichever is better on dev.

    Returns:
        The address of the evaluation.
    """
    from components.evaluation.step import run_step
    from components.kfp_context import exit_on_error, output_uri

    with exit_on_error(name):
        evaluation.uri = output_uri(evaluation.uri, name)
        what = (model, data, split, settings, encoder, base, champion, negatives)
        measured_as = "better" if settings_of == "better" else "model"
        result = run_step(evaluation.uri, name, *what, measured_as, without)
        return result.publish(evaluation, metrics, report)
