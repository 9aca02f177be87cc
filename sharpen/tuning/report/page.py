"""tune.html: what a search found, what it cost, and how sure it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sharpen.progress import clock
from sharpen.reports.formatting import flat, number, signed
from sharpen.reports.html_page import templates
from sharpen.reports.training_curves import short
from sharpen.store import local_store
from sharpen.tuning.records import Trial, second_value
from sharpen.tuning.report import figures
from sharpen.tuning.report.sentences import ONCE_ON_TEST, Outcome, counted, how_sure, verdict
from sharpen.tuning.study import COMPARISON, FACTS, Study

SHOWN = 200


def write_page(study: Study, path: Path) -> None:
    """Write the report of what a study holds so far."""
    local_store.replace(path, render_page(study).encode(), private=True)


def outcome_of(study: Study) -> Outcome:
    """What a study holds so far."""
    facts = study.fact(FACTS) or {}
    return Outcome(study.trials(), study.repeats(), study.fact(COMPARISON), int(facts.get("dev_queries", 0)))


def render_page(study: Study) -> str:
    """The page as one HTML file."""
    outcome, facts = outcome_of(study), study.fact(FACTS) or {}
    trials, second = outcome.trials, study.settings.second
    tone, heading, sentence = verdict(outcome)
    drawn = [figures.pareto_figure(trials, second), figures.history_figure(trials)]
    importance = figures.importance_figure(study.importance())
    return (
        templates(Path(__file__).parent)
        .get_template("page.html.j2")
        .render(
            took=clock(study.elapsed),
            tone=tone,
            heading=heading,
            sentence=sentence,
            cards=_cards(outcome),
            counts=counted(trials),
            sure=how_sure(outcome),
            once=ONCE_ON_TEST,
            best=best_yaml(outcome.best),
            command=facts.get("next_command", ""),
            figures=[figure for figure in drawn if figure],
            slices=[*figures.slice_figures(trials, study.space), *([importance] if importance else [])],
            header=_header(study, second),
            rows=_rows(trials, second, study)[:SHOWN],
            left_out=max(0, len(trials) - SHOWN),
            repeats=_repeats(outcome),
            space=[(one.name, one.described()) for one in study.space],
            searched=[
                ("data", facts.get("data", "")),
                ("dev queries", f"{outcome.dev_queries:,}"),
                ("model to start from", facts.get("model", "")),
            ],
            settings=[
                ("Search", flat(study.settings.model_dump(mode="json"))),
                ("The settings that it began with", flat(json.loads(facts.get("settings", "{}")))),
            ],
        )
    )


def best_yaml(trial: Trial | None) -> str:
    """A trial's values as YAML, by groups; empty for none."""
    if trial is None:
        return ""
    return yaml.safe_dump(nested(trial.values), sort_keys=False, default_flow_style=False)


def nested(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Values by full name as a configuration file has them: by groups."""
    found: dict[str, dict[str, Any]] = {}
    for full, value in values.items():
        group, _, name = full.partition(".")
        found.setdefault(group, {})[name] = value
    return found


def _cards(outcome: Outcome) -> list[tuple[str, str]]:
    leader, start = outcome.best, outcome.start
    found = []
    if leader is not None:
        found.append((number(leader.score, 4), f"best nDCG@10 on dev, trial {leader.number}"))
    if start is not None:
        found.append((number(start.score, 4), "with the settings of the start"))
    if outcome.base_score is not None:
        found.append((number(outcome.base_score, 4), "base model"))
    tried = [trial for trial in outcome.trials if trial.result.state != "running"]
    found.append((f"{len(tried)}", "trials"))
    found.append((clock(sum(trial.result.seconds for trial in tried)), "of mining and training"))
    return found


def _header(study: Study, second: str) -> list[str]:
    names = [one.name.partition(".")[2].replace("_", " ") for one in study.space]
    run = ["run"] if any(trial.run for trial in study.trials()) else []
    return ["nDCG@10 on dev", "how it ended", "training", *(["guard set"] if second == "guard" else []), *names, *run]


def _rows(trials: Sequence[Trial], second: str, study: Study) -> list[tuple[str, list[str]]]:
    """A row a trial, those trained to the end first, the best on top."""
    order = {"complete": 0, "pruned": 1, "running": 2, "failed": 3}
    ranked = sorted(trials, key=lambda t: (order[t.result.state], -(t.result.score or 0.0), t.number))
    rows = []
    for trial in ranked:
        result = trial.result
        score = "–" if result.score is None else number(result.score, 4)
        ended = {
            "complete": "trained to the end",
            "pruned": ": ".join(filter(None, (f"after {_share(trial)}", result.reason))),
        }
        state = ended.get(result.state, f"failed: {result.reason}" if result.state == "failed" else "running")
        guard = second_value(trial, "guard")
        cost = [clock(result.training_seconds)] + (
            ["–" if guard is None else number(guard, 4)] if second == "guard" else []
        )
        values = [_text(trial.values.get(one.name)) for one in study.space]
        values += [trial.run] if any(one.run for one in trials) else []
        rows.append((f"{trial.number}{' (start)' if trial.number == 0 else ''}", [score, state, *cost, *values]))
    return rows


def _share(trial: Trial) -> str:
    return f"{100 * trial.result.scores[-1][0]:.0f} %" if trial.result.scores else "the start"


def _repeats(outcome: Outcome) -> list[tuple[str, list[str]]]:
    """A row a seed: the start, the best, the difference."""
    if outcome.best is None:
        return []
    found: dict[int, dict[int, float]] = {}
    for one in outcome.repeats:
        if one.result.score is not None and one.result.state == "complete":
            found.setdefault(one.seed, {})[one.trial] = one.result.score
    rows = []
    for seed, scores in sorted(found.items()):
        if {0, outcome.best.number} <= scores.keys():
            old, new = scores[0], scores[outcome.best.number]
            rows.append((str(seed), [number(old, 4), number(new, 4), signed(new - old, 4)]))
    return rows


def _text(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return short(value)
    return value if isinstance(value, str) else json.dumps(value)
