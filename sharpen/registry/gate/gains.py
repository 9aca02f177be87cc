"""What a model gained over another one, metric by metric, as terminals, logs and pages show it."""

from __future__ import annotations

from dataclasses import dataclass

from sharpen.registry.gate.evaluation_summary import Reference

SHOWN_METRICS = ("ndcg_at_10", "mrr_at_10", "recall_at_10", "recall_at_100", "map_at_100")


@dataclass(frozen=True)
class Gain:
    """What a metric gained over a reference, on the test queries.

    Attributes:
        metric: its name, such as ``ndcg_at_10``.
        reference, candidate: means of the other model and of the tuned one.
        difference, ci_low, ci_high: candidate minus reference, and the bounds of its confidence interval.
        wins, losses: queries that the candidate answers better, and worse.
        queries: test queries.
    """

    metric: str
    reference: float
    candidate: float
    difference: float
    ci_low: float
    ci_high: float
    wins: int
    losses: int
    queries: int


def gains_over(reference: Reference, metric: str) -> list[Gain]:
    """The gains that people look at, that of the metric that decides first."""
    names = dict.fromkeys((metric, *SHOWN_METRICS))
    return [_gain(name, reference.metrics[name]) for name in names if name in reference.metrics]


def _gain(metric: str, figures: dict[str, float]) -> Gain:
    means = {key: figures[key] for key in ("reference", "candidate", "difference", "ci_low", "ci_high")}
    wins, losses, queries = (int(figures.get(key, 0)) for key in ("wins", "losses", "queries"))
    return Gain(metric, **means, wins=wins, losses=losses, queries=queries)
