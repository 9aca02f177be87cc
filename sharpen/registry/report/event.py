"""What a webhook is told of the end of a run."""

from __future__ import annotations

from collections.abc import Sequence

from sharpen.notifications import Event
from sharpen.registry.gate import PROMOTE, REJECT
from sharpen.registry.outcome import Outcome
from sharpen.registry.report.page import FAILED, RunEnd
from sharpen.registry.run_record import OVERTAKEN, WAITING


def run_event(end: RunEnd, name: str, outcome: Outcome | None, *, run: str, store: str) -> Event | None:
    """The event of a run's end; None where there is nothing to tell: cancelled, nothing new, or the model of before.

    Args:
        end: how the run ended.
        name: of the model.
        outcome: what it came to; None where it did not come so far.
        run: the run's id.
        store: root of the registry.
    """
    if end.state == FAILED:
        return Event("failed", name, run, end.sentence, [*end.lines], commands=[*end.commands])
    if outcome is None or outcome.unchanged:
        return None
    promoted = outcome.verdict == PROMOTE and outcome.version
    kinds = {REJECT: "refused", OVERTAKEN: "refused", WAITING: "waiting", **({PROMOTE: "promoted"} if promoted else {})}
    if outcome.verdict not in kinds:
        return None
    return Event(
        kinds[outcome.verdict],  # type: ignore[arg-type]
        name,
        run,
        outcome.headline,
        outcome.reasons,
        version=outcome.version_number,
        addresses={"model": outcome.version, "champion": outcome.champion, "report": outcome.report},
        figures=_figures(outcome),
        commands=[f"sharpen {command}" for command in outcome.commands(store, "submit")],
    )


def approval_event(name: str, version: str, decision: str, *, promoted: bool, reasons: Sequence[str] = ()) -> Event:
    """The event of a person's decision about a version that waited.

    Args:
        name, version: which.
        decision: what was decided by whom, in words.
        promoted: it is the champion now.
        reasons: the gate's.
    """
    return Event("promoted" if promoted else "refused", name, "", f"{version} was {decision}", reasons, version=version)


def _figures(outcome: Outcome) -> dict[str, float]:
    found = {}
    for name, (main, *_) in outcome.gains.items():
        found |= {
            f"{main.metric} against {name}": main.difference,
            f"{main.metric} against {name}, low": main.ci_low,
            f"{main.metric} against {name}, high": main.ci_high,
        }
    return found
