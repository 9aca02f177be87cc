"""How a run ended: one object, which the run's page shows, and its block of text for terminals and logs."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from sharpen import typed_json
from sharpen.registry import decisions, last_run, registry
from sharpen.registry.gate import PROMOTE, REJECT
from sharpen.registry.gate.evaluation_summary import (
    BASE,
    CHAMPION,
    EvaluationSummary,
    read_evaluation_summary,
)
from sharpen.registry.gate.gains import Gain, gains_over
from sharpen.registry.last_run import SKIP
from sharpen.registry.run_record import OVERTAKEN, WAITING
from sharpen.registry.settings import PromotionSettings
from sharpen.registry.versions import checked_name
from sharpen.reports.formatting import label
from sharpen.run_context import EMBEDDED_VARIABLE
from sharpen.store import storage
from sharpen.terminal import printable

VERDICTS = {
    PROMOTE: "promoted",
    REJECT: "not promoted",
    OVERTAKEN: "not promoted, as another run changed the champion",
    WAITING: "waits for approval",
    SKIP: "nothing new to train on",
}
# lines around the block in a step's log
_BEGIN = "----- outcome: {} -----"
_BLOCK = re.compile(r"^----- outcome: (\w+) -----\n(.*?)^----- end of outcome -----$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        model_name: name of the model in the registry.
        verdict: a key of `VERDICTS`.
        reasons: why, a line each.
        version: address of the version that is promoted or waits for approval; empty for none.
        champion: address of the champion now; empty for none.
        unchanged: the model was the champion before this run, which therefore changed nothing.
        metric: the one that decides; empty for a skipped run.
        gains: ``base``, ``champion`` -> gain by metric, the one that decides first.
        confidence_level: of the intervals.
        report: address or path of the HTML report; empty for none.
        notes: how the figures are to be read: those of the size that is served, the score on dev, how worn the test
            set is.
        indexed: the promoted version gets a search index.
        logs: address of what the training pods wrote; empty where no pods trained.
        run: the run's id; empty in outcomes of earlier versions.
        at: when it was known, UTC, ISO 8601.
    """

    model_name: str
    verdict: str
    reasons: list[str]
    version: str = ""
    champion: str = ""
    unchanged: bool = False
    metric: str = ""
    gains: dict[str, list[Gain]] = field(default_factory=dict)
    confidence_level: float = 0.95
    report: str = ""
    notes: list[str] = field(default_factory=list)
    indexed: bool = False
    logs: str = ""
    run: str = ""
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def summary(self) -> str:
        """The verdict in words."""
        if self.unchanged:
            return "this very model is the champion already, so nothing changed"
        if self.verdict == PROMOTE and not self.version:
            return "good enough, but only a report was asked for (promotion.mode never)"
        return VERDICTS[self.verdict]

    @property
    def headline(self) -> str:
        """The verdict in words, with the version that was promoted or waits."""
        if self.verdict == WAITING:
            return f"{self.version_number} {self.summary}"
        return f"promoted as {self.version_number}" if self.version and not self.unchanged else self.summary

    @property
    def version_number(self) -> str:
        """Number of the version that was promoted or waits, such as ``v0003``; empty for none."""
        return self.version.partition("?")[0].rstrip("/").rpartition("/")[2]

    @property
    def level(self) -> str:
        """The confidence level as a share, such as ``95 %``."""
        return f"{100 * self.confidence_level:g} %"

    def lines(self, commands: Sequence[str]) -> list[str]:
        """The outcome for a terminal: table of gains, verdict with reasons, addresses, and what to do next.

        Args:
            commands: what to do next, each a command line.
        """
        lines = [*_table(self), ""] if self.gains else []
        for name, gains in self.gains.items():
            main, over = gains[0], "Gain" if name == BASE else f"Gain over the {name}"
            lines.append(
                f"{over}: {label(main.metric)} {main.reference:.3f} -> {main.candidate:.3f} ({main.difference:+.3f}, "
                f"{self.level} interval {_interval(main)}, {main.queries:,} test queries)"
            )
        lines += [*self.notes, f"Verdict: {self.summary}", *(f"  - {reason}" for reason in self.reasons)]
        model = self.version or (f"the champion stays {self.champion}" if self.champion else "none was promoted yet")
        lines.append(f"Model:  {model}")
        lines += [f"Report: {self.report}"] if self.report else []
        return [printable(line) for line in (*lines, "", "Next:", *(f"  {command}" for command in commands))]

    def commands(self, store: str, start: str = "run") -> list[str]:
        """What to do next, as arguments of ``sharpen``; in a run with the embedded store they need no address.

        Args:
            store: root of the registry; empty: the embedded store.
            start: the command that starts such a run.
        """
        if os.environ.get(EMBEDDED_VARIABLE):
            store, start = "", "run"
        name, where = self.model_name, f" --store {shlex.quote(store)}" if store else ""
        if self.verdict == WAITING:
            waits = f"{name} {self.version_number}{where}"
            return [f"models approve {waits}", f"models reject {waits}", f"models show {waits}"]
        if self.version:
            search = [f'search "YOUR QUESTION" --model {name}{where}'] if self.indexed else []
            return [*search, f"models show {name}{where}", f"models pull {name} --to ./{name}{where}"]
        if self.verdict == SKIP:
            return [f"models show {name}{where}", f"{start} ... --set retraining.force=true"]
        look = f"models show {name}{where}" if self.champion else f"runs list {name}{where}"
        return [look, "settings", *([f"explain {self.run or name}{where}"] if self.verdict == REJECT else [])]

    def save(self, root: str, run: str) -> None:
        """Keep it in the registry, where the exit task of the run finds it (`find_outcome`)."""
        storage.write_json(_address(root, self.model_name, run), asdict(self))

    def block(self, store: str) -> str:
        """The outcome as a step's log holds it, between two lines by which `find_block` knows it.

        Args:
            store: root of the registry.
        """
        lines = self.lines([f"sharpen {command}" for command in self.commands(store, "submit")])
        # Kubeflow's archive of logs leaves out lines that are empty
        return "\n".join([_BEGIN.format(self.verdict), *(line or " " for line in lines), "----- end of outcome -----"])


def measured_outcome(
    evaluation: str,
    name: str,
    root: str,
    settings: PromotionSettings,
    *,
    verdict: str,
    reasons: list[str],
    version: str,
    run: str,
    indexed: bool = False,
    logs: str = "",
) -> Outcome:
    """The outcome of a run that evaluated a model.

    Args:
        evaluation: address of the tuned model's evaluation.
        name, root: of the model and of the registry.
        settings: of the gate.
        verdict, reasons, version: as `Outcome` has them.
        run: the run's id.
        indexed, logs: as `Outcome` has them.

    Raises:
        InputError: the evaluation or the champion's pointer cannot be read.
    """
    measured = read_evaluation_summary(evaluation)
    references = {other: measured.against[other] for other in (BASE, CHAMPION) if other in measured.against}
    present = registry.read_champion(root, name)
    return Outcome(
        name,
        verdict,
        reasons,
        version,
        champion=present.address if present else "",
        unchanged=bool(version and present and present.address == version and present.run_id != run),
        metric=settings.metric,
        gains={other: gains_over(reference, settings.metric) for other, reference in references.items()},
        confidence_level=measured.confidence_level,
        report=storage.join(evaluation, "report.html"),
        notes=[
            *_served(measured, settings),
            *_notes(measured, settings.metric, decisions.earlier(root, measured, settings)),
        ],
        indexed=indexed,
        logs=logs,
        run=run,
    )


def skipped_outcome(name: str, root: str, reason: str) -> Outcome:
    """The outcome of a run that found nothing new to train on.

    Args:
        name, root: of the model and of the registry.
        reason: what it compared.

    Raises:
        InputError: the champion's pointer cannot be read.
    """
    return Outcome(name, SKIP, [reason], champion=registry.champion_address(root, name))


def find_outcome(root: str, name: str, run: str) -> Outcome | None:
    """What a run came to; None where it did not come so far. Raises InputError when a record is damaged."""
    address = _address(root, name, run)
    with contextlib.suppress(storage.NotFound):
        return typed_json.parse(Outcome, storage.read_bytes(address), address, remedy="delete it")
    skipped = last.skipped if (last := last_run.read(root, name)) else {}
    return skipped_outcome(name, root, skipped.get("reason", "")) if skipped.get("run_id") == run else None


def find_block(log: str) -> tuple[str, list[str]] | None:
    """(verdict, lines) of the last outcome in a step's log; None where it holds none."""
    blocks = _BLOCK.findall(log.replace("\r\n", "\n"))
    return (blocks[-1][0], [line.rstrip() for line in blocks[-1][1].splitlines()]) if blocks else None


def is_marker(line: str) -> bool:
    """True for the lines around the block."""
    return line.startswith("----- outcome: ") or line == "----- end of outcome -----"


def _address(root: str, name: str, run: str) -> str:
    return storage.join(root, "models", checked_name(name), "outcomes", f"{run}.json")


def _served(measured: EvaluationSummary, settings: PromotionSettings) -> list[str]:
    """A line for each reference: the gain in the size that will be served, which decides; none where that is full."""
    name, metric = settings.variant, settings.metric
    variant = next((one for one in measured.variants or [] if name and one["name"] == name), {})
    return [
        f"Served: {label(metric)} as {name}{'' if variant['against_size'][other] == name else f' ({other} in full)'} "
        f"{found[metric]['reference']:.3f} ({other}) -> {found[metric]['candidate']:.3f} "
        f"({found[metric]['difference']:+.3f}, interval {found[metric]['ci_low']:+.3f} ... "
        f"{found[metric]['ci_high']:+.3f}); the gate judges this"
        for other, found in variant.get("against", {}).items()
        if metric in found
    ]


def _notes(measured: EvaluationSummary, metric: str, earlier: int) -> list[str]:
    """The figures of dev, by which runs are compared, and how worn the test set is."""
    dev, notes = measured.dev, []
    if metric in dev.get("metrics", {}):
        before = dev["against"].get(BASE, {}).get(metric, {}).get("reference")
        base = "" if before is None else f"{before:.3f} -> "
        notes.append(
            f"Dev:    {label(metric)} {base}{dev['metrics'][metric]:.3f} ({dev['queries']:,} queries); compare runs by "
            "this: sharpen runs list"
        )
    else:
        notes.append("Dev:    the data have no dev split, so runs can only be compared by what also decides")
    out = measured.facts.get("queries_left_out", 0)
    left_out = f"; {out:,} queries left out, as a champion was trained on them" if out else ""
    times = "time" if earlier == 1 else "times"
    notes.append(f"Test:   these queries have decided {earlier:,} {times} before{left_out}")
    return [*notes, decisions.often(earlier)] if earlier >= decisions.MANY else notes


def _table(outcome: Outcome) -> list[str]:
    """One row a metric, against the base model where it was measured."""
    name, gains = next(iter(outcome.gains.items()))
    rows = [("", name, "tuned", "gain", f"{outcome.level} interval", "better/worse")]
    for g in gains:
        means = f"{g.reference:.3f}", f"{g.candidate:.3f}", f"{g.difference:+.3f}"
        rows.append((label(g.metric), *means, _interval(g), f"{g.wins}/{g.losses}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return ["  ".join([row[0].ljust(widths[0]), *cells[1:]]) for row, cells in zip(rows, aligned, strict=True)]


def _interval(gain: Gain) -> str:
    return f"{gain.ci_low:+.3f} ... {gain.ci_high:+.3f}"
