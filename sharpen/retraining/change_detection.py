"""Is there anything to train on that the last finished run had not? If not, a scheduled run ends early.

Most runs are decided by what is known before any data are read (`plan_run`). Where only the sources are others, their
prepared examples are counted (`count_changes`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np

from sharpen import typed_json
from sharpen.data import examples
from sharpen.data.dataset import DataSet
from sharpen.registry import last_run
from sharpen.registry.run_record import OVERTAKEN, LastRun
from sharpen.store import storage

TRAIN, SKIP = "train", "skip"

# what a person calls the parts of `TrainingInputs.identity`
NAMES = {
    "settings": "the settings",
    "code": "the code",
    "base_model": "the base model",
    "mining": "what mining reads",
}


@dataclass(frozen=True)
class KnownExamples:
    """What the prepared examples of a run are compared with.

    Attributes:
        registry, model_name: where a skipped run is recorded.
        examples: address of the last run's hashes.
        since: how a person knows that run.
        least: min_new_examples.
        sources: as `TrainingInputs.sources`, of the run that is about to begin.
    """

    registry: str
    model_name: str
    examples: str
    since: str
    least: int
    sources: str

    def as_json(self) -> str:
        """One line of JSON: the same for every run that compares the same, so that a cached step may answer."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> KnownExamples:
        """The object of `as_json`. Raises InputError when the text is something else."""
        return typed_json.parse(cls, text, "known examples")


@dataclass(frozen=True)
class RunPlan:
    """What is decided before data are prepared.

    Attributes:
        decision: ``train`` or ``skip``.
        reason: why, in one line.
        known: what the prepared examples are still to be compared with; None: nothing.
    """

    decision: str
    reason: str
    known: KnownExamples | None = None


def plan_run(
    registry: str, name: str, last: LastRun | None, identity: dict[str, str], sources: str, least: int, *, force: bool
) -> RunPlan:
    """Decide whether a run goes on, by what is known without its data.

    A run is skipped when the last finished run, promoted or rejected, had equal settings, code, base model and files
    for mining, and fewer than `least` examples are new or gone. What came in since adds up over skipped runs.

    Args:
        registry, name: of the model.
        last: the last finished run; None: there was none.
        identity, sources: as `TrainingInputs` has them.
        least: min_new_examples; 0: no run is skipped.
        force: no run is skipped.
    """
    if force:
        return RunPlan(TRAIN, "retraining.force is set")
    if last is None:
        return RunPlan(TRAIN, "no earlier run of this model has finished")
    if last.verdict == OVERTAKEN:
        return RunPlan(TRAIN, f"other runs changed the champion before run {last.run_id} could promote its model")
    changed = [name for key, name in NAMES.items() if identity.get(key) != last.seen.identity.get(key)]
    if changed:
        return RunPlan(TRAIN, f"{_listed(changed)} changed since {last.told}")
    if not storage.exists(last.seen.examples):
        return RunPlan(TRAIN, f"the examples of {last.told} are not in the registry any more")
    if not least:
        return RunPlan(TRAIN, "min_new_examples is 0")
    if sources == last.seen.sources:
        return RunPlan(*_counted(0, 0, last.told, least))
    if (sources, str(least)) == (last.skipped.get("sources"), last.skipped.get("least")):
        # these very sources were counted before
        return RunPlan(SKIP, last.skipped["reason"])
    known = KnownExamples(registry, name, last.seen.examples, last.told, least, sources)
    return RunPlan(TRAIN, f"the sources changed since {last.told}", known)


@dataclass(frozen=True)
class ChangeCount:
    """The examples of a prepared data set, and whether they are worth a run.

    Attributes:
        decision: ``train`` or ``skip``.
        reason: why, in one line; empty where nothing was compared.
        new, gone: examples that the last finished run had not, and those that only it had; None where the two were not
            compared.
        content, count, examples: as `TrainingInputs` has them.
    """

    decision: str
    reason: str
    new: int | None
    gone: int | None
    content: str
    count: int
    examples: str

    @property
    def metrics(self) -> dict[str, float]:
        """The figures that the pipeline shows."""
        figures = {"examples": self.count, "new_examples": self.new, "gone_examples": self.gone}
        return {name: float(value) for name, value in figures.items() if value is not None}

    @property
    def seen(self) -> str:
        """What of `TrainingInputs` only the data say, as JSON."""
        return json.dumps({"content": self.content, "count": self.count, "examples": self.examples}, sort_keys=True)


def count_changes(data: str, known: str, *, target: str) -> ChangeCount:
    """Write the hashes of a data set's examples, and count those that are new; a skipped run is recorded.

    Args:
        data: address of the data set, as data_prep wrote it.
        known: `KnownExamples.as_json`; empty: the run goes on whatever is new.
        target: address of a folder for the hashes.

    Raises:
        InputError: no such data set.
    """
    facts = storage.read_manifest(data).facts
    now = examples.example_hashes(DataSet.open(data), facts["brought_splits"])
    address = storage.join(target, "examples.u64")
    storage.write_bytes(address, examples.as_bytes(now))
    before = KnownExamples.from_json(known) if known else None
    counted = _compare(before, now) if before else (TRAIN, "", None, None)
    if before and counted[0] == SKIP:
        last_run.record_skip(
            before.registry, before.model_name, reason=counted[1], sources=before.sources, least=before.least
        )
    return ChangeCount(*counted, content=facts["fingerprint"], count=int(now.size), examples=address)


def _compare(known: KnownExamples, now: np.ndarray) -> tuple[str, str, int | None, int | None]:
    """Decision, reason, new and gone examples of (n,) sorted hashes."""
    try:
        before = examples.from_bytes(storage.read_bytes(known.examples))
    except storage.NotFound:
        return TRAIN, f"the examples of {known.since} are not in the registry any more", None, None
    new, gone = examples.difference(now, before)
    return *_counted(new, gone, known.since, known.least), new, gone


def _counted(new: int, gone: int, since: str, least: int) -> tuple[str, str]:
    lost = f" and {gone:,} gone" if gone else ""
    noun = "example" if new == 1 and not gone else "examples"
    figures = f"{new:,} new{lost} {noun} since {since}, min_new_examples is {least:,}"
    return (TRAIN, figures) if max(new, gone) >= least else (SKIP, f"skipped: {figures}")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
