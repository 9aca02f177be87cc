"""Is there anything to train on that the last finished run had not? If not, a scheduled run ends early.

Most runs are decided by what is known before any data are read (`plan_run`). Where only the sources are others, their
prepared examples are counted (`count_changes`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from sharpen import typed_json
from sharpen.data import examples, query_keys
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
        examples: address of the last run's hashes; empty: there is nothing to compare with.
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
        content, count, examples, trained, held_out: as `TrainingInputs` has them.
    """

    decision: str
    reason: str
    new: int | None
    gone: int | None
    content: str
    count: int
    examples: str
    trained: str
    held_out: str

    @property
    def metrics(self) -> dict[str, float]:
        """The figures that the pipeline shows."""
        figures = {"examples": self.count, "new_examples": self.new, "gone_examples": self.gone}
        return {name: float(value) for name, value in figures.items() if value is not None}

    @property
    def seen(self) -> str:
        """What of `TrainingInputs` only the data say, as JSON."""
        names = ("content", "count", "examples", "trained", "held_out")
        return json.dumps({name: getattr(self, name) for name in names}, sort_keys=True)


def count_changes(data: str, known: str, *, target: str) -> ChangeCount:
    """Write the hashes of a data set's examples, and count those that are new; a skipped run is recorded.

    New is an example that is in the data set and was not read by the last finished run; gone one that it read and that
    was not read now. Under a window that moves with the days nothing is gone: what it leaves behind is no news.

    Args:
        data: address of the data set, as data_prep wrote it.
        known: `KnownExamples.as_json`; empty: the run goes on whatever is new.
        target: address of a folder for the hashes, those of the examples that are trained on, and the keys of dev and
            test.

    Raises:
        InputError: no such data set.
    """
    facts = storage.read_manifest(data).facts
    prepared = DataSet.open(data)
    table = examples.examples_of(prepared, facts["brought_splits"])
    selected = np.unique(table["example"].to_numpy())
    everything = storage.join(data, examples.FILE)
    # of a data set of which a part was left out, the whole is written beside it
    read = examples.from_bytes(storage.read_bytes(everything)) if storage.exists(everything) else selected
    files = {
        "examples.u64": examples.as_bytes(read),
        "trained.u64": examples.as_bytes(np.unique(table.filter(split=TRAIN)["example"].to_numpy())),
        "held_out.json": query_keys.held_out_as_bytes({split: _keys(prepared, split) for split in ("dev", "test")}),
    }
    addresses = [storage.join(target, name) for name in files]
    for address, content in zip(addresses, files.values(), strict=True):
        storage.write_bytes(address, content)
    given = KnownExamples.from_json(known) if known else None
    before = given if given and given.examples else None
    moving = bool(facts.get("moving"))
    counted = _compare(before, selected, read, moving=moving) if before else (TRAIN, "", None, None)
    if before and counted[0] == SKIP:
        record_skip(before, counted[1])
    return ChangeCount(*counted, facts["fingerprint"], int(selected.size), *addresses)


def record_skip(known: KnownExamples, reason: str) -> None:
    """Record that a run is skipped, and why."""
    last_run.record_skip(known.registry, known.model_name, reason=reason, sources=known.sources, least=known.least)


def _keys(data: DataSet, split: str) -> Iterator[int]:
    queries = data.queries_of(split)
    return query_keys.with_ids(queries["text_key"], queries["query_id"])


def _compare(
    known: KnownExamples, selected: np.ndarray, read: np.ndarray, *, moving: bool
) -> tuple[str, str, int | None, int | None]:
    """Decision, reason, new and gone examples of (n,) sorted hashes."""
    try:
        before = examples.from_bytes(storage.read_bytes(known.examples))
    except storage.NotFound:
        return TRAIN, f"the examples of {known.since} are not in the registry any more", None, None
    new, gone = examples.difference(selected, before)[0], 0 if moving else examples.difference(read, before)[1]
    return *_counted(new, gone, known.since, known.least), new, gone


def _counted(new: int, gone: int, since: str, least: int) -> tuple[str, str]:
    lost = f" and {gone:,} gone" if gone else ""
    noun = "example" if new == 1 and not gone else "examples"
    figures = f"{new:,} new{lost} {noun} since {since}, min_new_examples is {least:,}"
    return (TRAIN, figures) if max(new, gone) >= least else (SKIP, f"skipped: {figures}")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
