"""The indexing step as Kubeflow Pipelines runs it."""

# No `from __future__ import annotations`: kfp reads the annotations as objects.

from kfp import dsl

from components.kfp_context import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def indexing(
    model: str,
    data: str,
    settings: str,
    encoder: str,
    fingerprint: str,
    index: dsl.Output[dsl.Artifact],
    statistics: dsl.Output[dsl.Metrics],
    page: dsl.Output[dsl.Markdown],
) -> str:
    """Index the corpus with the promoted model: embeddings for a vector database, and a FAISS file to search at once.

    Args:
        model: Address of the registered version. Empty (a dry run): nothing is indexed and the output is empty.
        data: Address of the data set whose passages are indexed.
        settings: Indexing settings as JSON.
        encoder: Encoder settings as JSON.
        fingerprint: Fingerprint of data, models and code; it only makes caching right.
        index: Says where the folder with embeddings, FAISS file and manifest is: beside the version in the registry.
        statistics: How many passages, and what the storage loses.
        page: What the index holds and how it is used.

    Returns:
        The address of the index.
    """
    from components.indexing.step import run_step
    from components.kfp_context import exit_on_error, write_json

    with exit_on_error("indexing"):
        result = run_step(model, data, settings, encoder)
        address = result.publish(index, statistics, page)
        # the folder is outside of the pipeline's root, where KFP's launcher takes no artifact
        write_json(index.path, result.facts)
        return address
