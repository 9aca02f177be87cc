"""The public function that makes one model of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sharpen.api.inputs import Address, Data, Model, checked_settings, data_folder, model_folder
from sharpen.api.results import MergedModel, OutputFolder


def merge_models(
    models: Model | Sequence[Model],
    *,
    base: Model | None = None,
    data: Data | None = None,
    output: Address | None = None,
    **settings: Any,
) -> MergedModel:
    """Merge models of one architecture, weight by weight, so that a tuned model forgets less of what its base knew.

    Args:
        models: tuned models; the merged one is used as the first of them.
        base: that they were tuned from; `method` ``average`` needs none.
        data: whose dev queries, with a guard set, the weight is searched on where none is set; test is not looked at.
        output: folder to write; None: a temporary one that lives as long as the result.
        settings: of `MergingSettings`, `EvaluationSettings` (metric and guard set of a search) and `EncoderSettings`,
            such as ``weights=[0.6]``, ``method="task_arithmetic"`` or ``guard_data``.

    Raises:
        InputError: the models do not fit together, nothing to search a weight on, or an unknown setting.
        StepFailed: a merged model gives embeddings that are no numbers.

    Example:
        ```python
        merged = sharpen.merge_models(tuned, base="BAAI/bge-small-en-v1.5", data=data)
        merged.training["reason"], sharpen.evaluate(merged, data).metrics["ndcg_at_10"]
        ```
    """
    from sharpen.evaluation.settings import EvaluationSettings
    from sharpen.merging.merge import merge
    from sharpen.merging.settings import MergingSettings
    from sharpen.settings import EncoderSettings

    merging, evaluation, encoder = checked_settings(settings, MergingSettings, EvaluationSettings, EncoderSettings)
    several = isinstance(models, Sequence) and not isinstance(models, str)
    tuned = [model_folder(model) for model in (models if several else [models])]  # type: ignore[union-attr,list-item]
    start = model_folder(base) if base is not None else None
    read, folder = data_folder(data) if data is not None else None, OutputFolder(output, "model")
    facts = merge(
        [one.address for one in tuned],
        folder.address,
        merging,
        base=start.address if start else "",
        data=read.address if read else "",
        evaluation=evaluation,
        encoder=encoder,
    )
    return MergedModel(folder.address, (folder,), facts)
