"""The public function that compares finished evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sharpen.api.inputs import Address, checked_settings, result_address
from sharpen.api.results import Evaluation


def compare(
    candidate: Evaluation | Address, references: Mapping[str, Evaluation | Address], **settings: Any
) -> dict[str, Any]:
    """Compare an evaluation with any number of others of the same queries; nothing is measured again.

    Args:
        candidate: the evaluation of the model in question.
        references: the others, by name.
        settings: of `EvaluationSettings`, such as ``resamples``; the metrics are those that were measured.

    Returns:
        comparison.json: for each reference and metric both means, their difference with its interval, p, p corrected
        over the metrics (``p_holm``) and over the references (``p_holm_references``), wins, ties and losses.

    Raises:
        InputError: an evaluation is not finished, or was measured otherwise.

    Example:
        ```python
        made = sharpen.compare(tuned, {"base": base, "peer": peer, "bm25": "evaluations/bm25"})
        made["against"]["peer"]["metrics"]["ndcg_at_10"]["p_holm_references"]
        ```
    """
    from sharpen.evaluation.comparison import compare_finished
    from sharpen.evaluation.settings import EvaluationSettings

    (checked,) = checked_settings(settings, EvaluationSettings)
    return compare_finished(
        result_address(candidate), {name: result_address(one) for name, one in references.items()}, checked
    )
