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
    promoted_model: dsl.Input[dsl.Model],
    search_index: dsl.Output[dsl.Artifact],
    index_page: dsl.Output[dsl.HTML],
) -> str:
    """Index the corpus with the promoted model: embeddings for a vector database, and a FAISS file to search at once.

    Args:
        model: Address of the registered version. Empty (none was promoted): nothing is indexed and the output is empty.
        data: Address of the data set whose passages are indexed.
        settings: Indexing settings as JSON.
        encoder: Encoder settings as JSON.
        fingerprint: Fingerprint of data, models and code; it only makes caching right.
        promoted_model: The registered version again, for Kubeflow's lineage.
        search_index: Says where the folder with embeddings, FAISS file and manifest is: beside the registered version.
        index_page: What the index holds and how it is used.

    Returns:
        The address of the index.
    """
    from components.indexing.step import run_step
    from components.kfp_context import exit_on_error

    with exit_on_error("indexing"):
        return run_step(model, data, settings, encoder).publish(search_index, index_page)
