"""What a search found, and how sure it is, in sentences: for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from sharpen.reports.formatting import interval, number, p_text, signed
from sharpen.tuning.records import Repeat, Trial, best

ONCE_ON_TEST = (
    "The search looked at dev only, at no test query: the run with the best settings is judged on test, and once."
)


@dataclass(frozen=True)
class Outcome:
    """What is known at the end.

    Attributes:
        trials: of the search.
        repeats: with other seeds.
        comparison: of the best model with that of the start; None where there is none.
        dev_queries: how many queries the scores are of.
    """

    trials: Sequence[Trial]
    repeats: Sequence[Repeat]
    comparison: dict[str, Any] | None
    dev_queries: int

    @property
    def best(self) -> Trial | None:
        """The best trial so far."""
        return best(self.trials)

    @property
    def start(self) -> Trial | None:
        """The settings that the search began with, if they were trained to the end."""
        return next((t for t in self.trials if t.number == 0 and t.result.state == "complete"), None)

    @property
    def base_score(self) -> float | None:
        """nDCG@10 on dev of the untrained model, as the best trial encodes."""
        return self.best.result.base_score if self.best else None


def verdict(outcome: Outcome) -> tuple[str, str, str]:
    """Tone (a CSS class), heading and a sentence."""
    leader, start = outcome.best, outcome.start
    if leader is None:
        return "level", "No trial has been trained to the end yet.", ""
    score = number(leader.score, 4)
    base = outcome.base_score
    if base is not None and leader.score <= base:
        return (
            "down",
            "No settings made the model better on dev.",
            f"Best of them: {score} (trial {leader.number}); the base model has {number(base, 4)}.",
        )
    if start is None:
        return "level", f"Best on dev: trial {leader.number}, {score}.", "The settings of the start have no score."
    if leader.number == start.number:
        return "level", "No other settings are better on dev than those of the start.", f"They have {score}."
    gain = leader.score - start.score
    found = f"{score} against {number(start.score, 4)} ({signed(gain, 4)}) with the settings of the start"
    return "up", f"Trial {leader.number} is the best on dev.", f"nDCG@10 on dev: {found}."


def how_sure(outcome: Outcome) -> list[str]:
    """What the figures of the best trial are worth."""
    leader, start = outcome.best, outcome.start
    if leader is None:
        return []
    scored = sum(trial.result.score is not None for trial in outcome.trials)
    lines = []
    if scored > 1:
        lines.append(
            f"Winner's curse: the best of {scored} scores on the same {outcome.dev_queries:,} dev queries was chosen "
            "for its luck as well, so its score is too high on average; the more so the more trials and the fewer "
            "queries."
        )
    compared = outcome.comparison
    if compared is not None and compared.get("best") == leader.number:
        searched = (
            "in the passages that a training searches" if compared.get("searched_part") else "in the whole corpus"
        )
        lines.append(
            f"Noise of the queries: over all {compared['queries']:,} dev queries {searched} nDCG@10 is "
            f"{number(compared['reference'], 4)} with the settings of the start and {number(compared['candidate'], 4)} "
            f"with the best, {signed(compared['difference'], 4)} "
            f"[{interval(compared['ci_low'], compared['ci_high'], 4)}], p {p_text(compared['p_value'])}. "
            "The interval knows nothing of the choice among the trials."
        )
    elif leader.run and start is not None and leader.number != start.number:
        lines.append(
            "Noise of the queries: the trials' figures of each query are not in the store, so there is no interval; "
            "the run with the best settings gives it, on test."
        )
    whole = [one for one in outcome.repeats if one.result.state == "complete" and one.result.score is not None]
    again = [one for one in whole if one.trial == leader.number]
    before = [one for one in whole if start and one.trial == start.number]
    if again and before:
        mean, old = fmean(_score(one) for one in again), fmean(_score(one) for one in before)
        lines.append(
            f"Noise of the training: with {len(again)} other {'seed' if len(again) == 1 else 'seeds'} the best "
            f"settings have {number(mean, 4)} (in the search {number(leader.score, 4)}) and those of the start "
            f"{number(old, 4)}: {signed(mean - old, 4)}. Judge by this difference rather than by that of the "
            "search; the queries are still those of the search."
        )
    elif start is not None and leader.number != start.number:
        lines.append("The best settings were not trained with other seeds, so what a seed changes is not known.")
    return lines


def _score(repeat: Repeat) -> float:
    assert repeat.result.score is not None
    return repeat.result.score


def counted(trials: Sequence[Trial]) -> str:
    """How many trials ended how."""
    words = {"complete": "trained to the end", "pruned": "ended early", "failed": "failed", "running": "running"}
    parts = []
    for state, text in words.items():
        count = sum(trial.result.state == state for trial in trials)
        if count:
            parts.append(f"{count} {text}")
    return f"{len(trials)} {'trial' if len(trials) == 1 else 'trials'}: {', '.join(parts)}"
