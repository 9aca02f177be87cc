"""The data_prep step as pipeline components."""

# no `from __future__ import annotations`: kfp needs the annotations as objects

from typing import NamedTuple

from kfp import dsl

from components.kfp_context import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def fingerprint(
    train_data: str,
    eval_data: str,
    base_model: str,
    mined_with: str = "[]",
    start_model: str = "",
    settings_hash: str = "",
) -> NamedTuple("Content", [("fingerprint", str), ("identity", str)]):  # type: ignore[valid-type]
    """Check that data and models are there, and hash their content.

    Args:
        train_data: Addresses of the training data, separated by commas or as a JSON list.
        eval_data: Addresses of the evaluation data; may be empty.
        base_model: Model that results are compared with: a folder, an s3:// address or a hub id.
        mined_with: Other models, and files with file: before them, that mining reads, as a JSON list.
        start_model: Model that training starts from; empty for the base model.
        settings_hash: Hash of the settings that a result depends on.

    Returns:
        SHA-256 of data, models and code version, which makes caching right; hashes of what, besides the data, makes a
        run worth repeating, as JSON.
    """
    import json

    from components.kfp_context import exit_on_error
    from sharpen.retraining.fingerprint import fingerprint_inputs
    from sharpen.version import code_version

    with exit_on_error("fingerprint", first_contact=True):
        content = fingerprint_inputs(train_data, eval_data, base_model, json.loads(mined_with), start_model)
        version = code_version()
        print(f"content fingerprint: {content.fingerprint(version)}")
    return content.fingerprint(version), json.dumps(content.identity(version, settings_hash))  # type: ignore[return-value]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def detect_changes(
    data: str,
    identity: str,
    last_run: str,
    min_new_examples: int,
    examples: dsl.Output[dsl.Artifact],
    statistics: dsl.Output[dsl.Metrics],
    page: dsl.Output[dsl.Markdown],
) -> NamedTuple("Changes", [("Output", str), ("seen", str), ("reason", str)]):  # type: ignore[valid-type]
    """Decide whether there is anything to train on that the last finished run had not.

    Args:
        data: Address of the prepared data set.
        identity: Hashes of what, besides the data, makes a run worth repeating, as JSON.
        last_run: Record of the last finished run of this model as JSON; empty if there is none.
        min_new_examples: Fewest new examples that are worth a run; 0 to run always.
        examples: Hashes of the examples, for the next run's decision.
        statistics: Examples, how many are new and how many gone.
        page: The decision in words.

    Returns:
        The decision, train or skip; what is trained with, as JSON for the record; the reason in words.
    """
    from components.kfp_context import exit_on_error, log_metrics, output_uri
    from sharpen.retraining.change_detection import detect_changes

    with exit_on_error("detect_changes"):
        examples.uri = output_uri(examples.uri, "examples")
        answer = detect_changes(data, identity, last_run, min_new_examples, target=examples.uri)
        log_metrics(statistics, answer.metrics)
        answer.write_page(page.path)
        print(answer.reason)
    return answer.decision, answer.seen.as_json(), answer.reason  # type: ignore[return-value]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def data_prep(
    train_data: str,
    eval_data: str,
    settings: str,
    fingerprint: str,
    data: dsl.Output[dsl.Dataset],
    statistics: dsl.Output[dsl.Metrics],
    page: dsl.Output[dsl.Markdown],
) -> str:
    """Turn the user's data into a checked, de-duplicated and split data set.

    Args:
        train_data: Addresses of the training data, separated by commas or as a JSON list.
        eval_data: Addresses of the evaluation data; may be empty.
        settings: Settings of the step as JSON.
        fingerprint: Content fingerprint of the input; it makes caching right and is not read.
        data: The data set: passages, queries, judgements, quarantine, statistics.
        statistics: Its numbers.
        page: What was read, merged, left out and held out, in words.

    Returns:
        Address of the data set.
    """
    from components.kfp_context import exit_on_error, log_metrics, output_uri
    from sharpen.data.preparation.prepare import prepare
    from sharpen.data.preparation.settings import DataSettings
    from sharpen.data.preparation.statistics import write_page
    from sharpen.data.readers import split_addresses

    with exit_on_error("data_prep"):
        data.uri = output_uri(data.uri, "data_prep")
        checked = DataSettings.from_json(settings, where="data.")
        marker = prepare(split_addresses(train_data), split_addresses(eval_data), data.uri, checked)
        data.metadata.update(rows=marker.rows, fingerprint=marker.facts["fingerprint"])
        log_metrics(statistics, marker.facts["metrics"])
        write_page(data.uri, page.path)
    return data.uri
