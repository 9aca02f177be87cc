"""The public function that lets teachers score positives and negatives."""

from __future__ import annotations

from typing import Any

from sharpen.api.inputs import Address, Data, checked_settings, data_folder, result_address
from sharpen.api.results import Negatives, OutputFolder


def score_by_teachers(
    data: Data, negatives: Negatives | Address | None = None, *, output: Address | None = None, **settings: Any
) -> Negatives:
    """Score positives and negatives by a cross-encoder, a larger embedding model or a language model.

    Args:
        data: a data set, or its address.
        negatives: mined ones; None: those that the data bring.
        output: folder to write; None: a temporary one that lives as long as the result.
        settings: of `TeacherSettings` and `EncoderSettings`, such as ``cross_encoder``, ``embedding_model`` or
            ``margin``; ``endpoint`` and ``model`` name a language model.

    Returns:
        The negatives with the scores, without those that the teachers take for relevant where there is a ``margin``.

    Raises:
        InputError: data, negatives or teachers that are not there, or an unknown setting.
        StepFailed: the language model does not answer for too long, or no positive got a score.

    Example:
        ```python
        scored = sharpen.score_by_teachers(data, negatives, cross_encoder="BAAI/bge-reranker-base", margin=0)
        model = sharpen.finetune(base, data, scored, knowledge_distillation=True, infonce_weight=0.1)
        ```
    """
    from sharpen.data.dataset import NEGATIVES, read_table
    from sharpen.settings import EncoderSettings
    from sharpen.store import storage
    from sharpen.teachers.score import REPORT, TABLE
    from sharpen.teachers.score import score_by_teachers as score
    from sharpen.teachers.settings import TeacherSettings

    teachers, encoder = checked_settings(settings, TeacherSettings, EncoderSettings)
    read, folder = data_folder(data), OutputFolder(output, "negatives")
    score(read.address, result_address(negatives), folder.address, teachers, encoder)
    local = storage.open_artifact(folder.address)
    report = storage.read_json(storage.join(folder.address, REPORT))
    return Negatives(folder.address, (folder,), read_table(local / TABLE, NEGATIVES), report)
