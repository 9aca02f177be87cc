"""Rules of the gate that need figures which an evaluation measures only where it is asked to."""

from __future__ import annotations

from sharpen.evaluation.settings import EvaluationSettings, metric_names
from sharpen.index.sizes import FULL
from sharpen.registry.settings import PromotionSettings


def missing_figures(gate: PromotionSettings, measured: EvaluationSettings) -> list[str]:
    """A line for each rule of a `gate` whose figures are not `measured`."""
    missing = [
        f"promotion.{rule} needs {setting}; set it"
        for rule, wanted, setting, given in (
            ("max_slice_regression", gate.max_slice_regression, "evaluation.slices", measured.slices),
            ("max_guard_regression", gate.max_guard_regression, "evaluation.guard_data", measured.guard_data),
            ("variant", gate.variant, "evaluation.variants", measured.variants),
            *(
                (rule, getattr(gate, rule) is not None, "evaluation.variants", measured.variants)
                for rule in ("max_latency_ms", "max_bytes_per_passage", "max_index_mib")
            ),
        )
        if wanted and not given
    ]
    names = metric_names(measured.cutoffs)
    if unknown := ", ".join(name for name in gate.needed_metrics() if name not in names):
        missing.append(
            f"promotion: {unknown} is not measured with evaluation.cutoffs {measured.cutoffs}; change one of the two"
        )
    if gate.variant and measured.variants and gate.variant not in (FULL, *measured.variants):
        known = ", ".join((FULL, *measured.variants))
        missing.append(f"promotion.variant {gate.variant} is none of evaluation.variants: {known}")
    return missing
