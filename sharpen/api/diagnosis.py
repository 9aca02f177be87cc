"""The public function that says why a model is no better."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sharpen.api.inputs import Address, result_address
from sharpen.api.results import Evaluation

if TYPE_CHECKING:
    from sharpen.diagnosis.explain import Explanation


def explain(evaluation: Evaluation | Address) -> Explanation:
    """Say why a model is no better than its base: likely causes, each with figures and the setting to change.

    Args:
        evaluation: of the tuned model, compared with that of its base model; training, negatives and data are found by
            the addresses in it.

    Raises:
        InputError: there is no finished evaluation.

    Example:
        ```python
        after = sharpen.evaluate(model, "data", base=before)
        for finding in sharpen.explain(after).findings:
            print(finding.cause, finding.evidence, finding.command)
        ```
    """
    from sharpen.diagnosis.explain import explain_evaluation

    return explain_evaluation(result_address(evaluation))
