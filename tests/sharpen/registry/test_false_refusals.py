"""How often slices refuse an equal model, and pass one that is bad in one of them, by simulation with fixed seeds."""

from __future__ import annotations

import numpy as np

from sharpen.evaluation.significance import group_sums, randomisation_p
from sharpen.registry.gate.slices import slice_rules
from sharpen.registry.settings import PromotionSettings
from tests.sharpen.registry.equal_models import METRICS, World

LEVEL, FLIPS, TRIALS, BUDGET, METRIC = 0.95, 2000, 1000, 0.03, "ndcg_at_10"
# twenty parts of a test set, from 50 queries to 300
SIZES = [50, 60, 70, 80, 100, 100, 120, 150, 200, 300] * 2
EVERY = PromotionSettings.checked({"max_slice_regression": {"*": BUDGET}})


def compared(world: World, seed: int) -> list[dict[str, float]]:
    """The comparison of two models on one slice, one a trial."""
    reference, candidate = map(METRICS[METRIC], world.ranks(TRIALS, np.random.default_rng(seed)))
    groups = np.repeat(np.arange(len(world.sizes)), world.sizes)
    sums, sizes = group_sums(candidate - reference, groups)  # type: ignore[arg-type]
    p_values = randomisation_p(sums, flips=FLIPS, seed=seed)
    counts = {"queries": len(reference), "groups": len(sizes), "ci_low": 0.0}
    differences = (candidate - reference).mean(axis=0)
    return [{"difference": d, "p_value": p, **counts} for d, p in zip(differences, p_values, strict=True)]


def refusals(slices: dict[str, list[dict[str, float]]], settings: PromotionSettings = EVERY) -> list[bool]:
    """For each trial whether the slices refuse the candidate."""
    refused = []
    for trial in range(TRIALS):
        parts = [
            {"field": "part", "value": name, **entries[trial], "against": {"base": {METRIC: entries[trial]}}}
            for name, entries in slices.items()
        ]
        refused.append(not all(rule.holds for rule in slice_rules(parts, "base", settings, LEVEL, "evaluation")))
    return refused


def equal_slices() -> dict[str, list[dict[str, float]]]:
    return {f"{n}": compared(World(np.ones(size, int), easy=0.5), seed=n) for n, size in enumerate(SIZES)}


def test_equal_models_are_refused_at_most_as_often_as_said_however_many_slices() -> None:
    slices = equal_slices()
    corrected = np.mean(refusals(slices))
    # what the correction and the significance are for
    alone = np.mean(
        [any(e[t]["p_value"] <= 0.05 and e[t]["difference"] < -BUDGET for e in slices.values()) for t in range(TRIALS)]
    )
    means = PromotionSettings.checked({"mode": "mean", "max_slice_regression": {"*": BUDGET}})
    plain = np.mean(refusals(slices, means))
    print(
        f"\n20 slices: refused {100 * corrected:.1f} %, without Holm {100 * alone:.1f} %, by means {100 * plain:.1f} %"
    )
    # two standard errors of the simulation
    assert corrected <= 0.025 + 2 * np.sqrt(0.025 * 0.975 / TRIALS)
    assert alone > 0.2 and plain > 0.8


def test_a_bad_slice_is_seen_among_twenty() -> None:
    others = equal_slices()
    passed = {}
    for size, skill in ((100, -1.0), (200, -1.0), (300, -1.0)):
        bad = compared(World(np.ones(size, int), easy=0.5, gain=skill), seed=100 + size)
        drop = float(np.mean([entry["difference"] for entry in bad]))
        passed[size, round(drop, 2)] = 1 - float(np.mean(refusals({**others, "bad": bad})))
    print("\n" + "; ".join(f"{n} queries, true drop {d:+.2f}: passes {100 * p:.0f} %" for (n, d), p in passed.items()))
    first, second, third = passed.values()
    assert first <= 0.6 and second <= 0.2 and third <= 0.02


def test_a_named_slice_passes_a_drop_of_its_budget_no_more_often_than_a_metric_does() -> None:
    """Named slices are judged by the interval, so what is said of `max_regression` holds for them, as `no_drop` is one
    rule for both; twenty of them would refuse equal models far too often, which is why a family is judged otherwise."""
    named = PromotionSettings.checked({"max_slice_regression": {f"part={n}": 0.05 for n in range(len(SIZES))}})
    slices = equal_slices()
    for entries in slices.values():
        for entry in entries:
            # the normal interval is enough to show it
            entry["ci_low"] = entry["difference"] - 1.96 * 0.3 / np.sqrt(entry["queries"])
    assert np.mean(refusals(slices, named)) > 0.9
