"""The data_prep step as pipeline components."""

# no `from __future__ import annotations`: kfp needs the annotations as objects

from kfp import dsl

from components.core.place import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def fingerprint(train_data: str, eval_data: str, base_model: str, mined_with: str = "[]") -> str:
    """Check that data and model are there, and hash their content, so that cached steps are used only while it lasts.

    Args:
        train_data: Addresses of the training data, separated by commas or as a JSON list.
        eval_data: Addresses of the evaluation data; may be empty.
        base_model: Model to start from: a folder, an s3:// address or a hub id.
        mined_with: Other models, and files with file: before them, that mining reads, as a JSON list.

    Returns:
        SHA-256 of data, model and code version.
    """
    import json

    from components.core.place import code_version, reported
    from components.data_prep.fingerprint import fingerprint as content_fingerprint

    with reported("fingerprint"):
        found = content_fingerprint(train_data, eval_data, base_model, code_version(), json.loads(mined_with))
        print(f"content fingerprint: {found}")
    return found


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def data_prep(
    train_data: str,
    eval_data: str,
    settings: str,
    fingerprint: str,
    data: dsl.Output[dsl.Dataset],
    statistics: dsl.Output[dsl.Metrics],
) -> str:
    """Turn the user's data into a checked, de-duplicated and split data set.

    Args:
        train_data: Addresses of the training data, separated by commas or as a JSON list.
        eval_data: Addresses of the evaluation data; may be empty.
        settings: Settings of the step as JSON.
        fingerprint: Content fingerprint of the input; it makes caching right and is not read.
        data: The data set: passages, queries, judgements, quarantine, statistics.
        statistics: Its numbers.

    Returns:
        Address of the data set.
    """
    from components.core.place import output_address, reported, show_metrics
    from components.core.readers import split_addresses
    from components.data_prep.prepare import prepare
    from components.data_prep.settings import DataSettings

    with reported("data_prep"):
        address = output_address(data.uri, "data_prep")
        checked = DataSettings.from_json(settings, where="data.")
        marker = prepare(split_addresses(train_data), split_addresses(eval_data), address, checked)
        data.uri = address
        data.metadata.update(rows=marker.rows, fingerprint=marker.facts["fingerprint"])
        show_metrics(statistics, marker.facts["metrics"])
    return address
