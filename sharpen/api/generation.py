"""The public function that writes queries for documents that have none."""

from __future__ import annotations

from typing import Any

from sharpen.api.inputs import Address, Data, Model, checked_settings, data_folder, inference_settings, model_folder
from sharpen.api.results import GeneratedQueries, OutputFolder


def generate_queries(
    documents: Address,
    *,
    base_model: Model | None = None,
    examples: Data | None = None,
    output: Address | None = None,
    **settings: Any,
) -> GeneratedQueries:
    """Let a language model write queries for documents: training data where nobody has labelled any.

    Args:
        documents: files or folders of text, Markdown, HTML and PDF, or passages; comma-separated.
        base_model: a query whose passage this model does not find is left out; None: none is, for that.
        examples: data whose queries are shown as examples of how people ask.
        output: folder to write; None: a temporary one that lives as long as the result.
        settings: of `GenerationSettings` and `EncoderSettings`, such as ``endpoint``, ``model`` or ``max_tokens``.

    Raises:
        InputError: unusable documents, an endpoint or model that is not there, or an unknown setting.
        StepFailed: the endpoint does not answer for too long, or no query passes the filters.

    Example:
        ```python
        queries = sharpen.generate_queries("docs/", base_model=base, endpoint="http://vllm:8000/v1", model="qwen")
        data = sharpen.load_dataset([queries.folder], eval_data="questions-of-people.jsonl")
        ```
    """
    from sharpen.data.dataset import DataSet
    from sharpen.generation.generate import REPORT
    from sharpen.generation.generate import generate_queries as generate
    from sharpen.generation.settings import GenerationSettings
    from sharpen.settings import EncoderSettings
    from sharpen.store import storage

    generation, encoder = checked_settings(settings, GenerationSettings, EncoderSettings)
    folder = OutputFolder(output, "queries")
    model = model_folder(base_model) if base_model is not None else None
    shown = data_folder(examples) if examples is not None else None
    generate(
        *(str(documents), folder.address, generation),
        encoder if base_model is None else inference_settings(base_model, encoder),
        base_model=model.address if model else "",
        examples=shown.address if shown else "",
    )
    report = storage.read_json(storage.join(folder.address, REPORT))
    return GeneratedQueries(folder.address, (folder,), DataSet.open(folder.address), report)
