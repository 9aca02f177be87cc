"""Is there anything to train on that the last finished run had not? If not, a scheduled run ends here."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sharpen.data.dataset import DataSet
from sharpen.registry.run_record import OVERTAKEN, LastRun, TrainingInputs
from sharpen.retraining import examples
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
class ChangeDecision:
    """The answer.

    Attributes:
        decision: ``train`` or ``skip``.
        reason: why, in one line.
        new, gone: examples that the last finished run had not, and those that only it had; None where the two were not
            compared.
        seen: what this run trains with, for the record.
    """

    decision: str
    reason: str
    new: int | None
    gone: int | None
    seen: TrainingInputs

    @property
    def metrics(self) -> dict[str, float]:
        """The figures that the pipeline shows."""
        figures = {"examples": self.seen.count, "new_examples": self.new, "gone_examples": self.gone}
        shown = {name: float(value) for name, value in figures.items() if value is not None}
        return {**shown, "skipped": float(self.decision == SKIP)}

    def write_page(self, path: str) -> None:
        """Write the decision as Markdown, for the UI."""
        text = f"## {self.decision}\n\n{self.reason}\n\n{self.seen.count:,} examples in all\n"
        Path(path).write_text(text, encoding="utf-8")


def detect_changes(data: str, identity: str, last_run: str, least: int, *, target: str) -> ChangeDecision:
    """`compare` for a prepared data set, with the texts that a pipeline passes.

    Args:
        data: address of the data set, as data_prep wrote it.
        identity: `TrainingInputs.identity` as JSON.
        last_run: `LastRun.as_json`, or empty.
        least: min_new_examples.
        target: address of a folder for the hashes of the examples.

    Raises:
        InputError: no such data set, or a damaged record.
    """
    facts = storage.read_manifest(data).facts
    return compare(
        LastRun.from_json(last_run),
        json.loads(identity),
        facts["fingerprint"],
        lambda: examples.example_hashes(DataSet.open(data), facts["brought_splits"]),
        storage.join(target, "examples.u64"),
        least,
    )


def compare(
    last: LastRun | None,
    identity: dict[str, str],
    content: str,
    read: Callable[[], np.ndarray],
    target: str,
    least: int,
) -> ChangeDecision:
    """Decide whether a run goes on, and keep the hashes of its examples for the next decision.

    A run is skipped when the last finished run, promoted or rejected, had equal settings, code, base model and
    files for mining, and fewer than `least` examples are new or gone. What came in since adds up over skipped runs.

    Args:
        last: the last finished run; None: there was none.
        identity: as `TrainingInputs.identity`.
        content: as `TrainingInputs.content`.
        read: gives `examples.example_hashes`; called only if the content is another than the last run's.
        target: address of the file for the hashes; written only if they were read.
        least: min_new_examples; 0: no run is skipped.
    """
    before = _hashes_of(last) if last else None
    if last is not None and before is not None and content == last.seen.content:
        now, address = before, last.seen.examples
    else:
        now, address = read(), target
        storage.write_bytes(address, examples.as_bytes(now))
    seen = TrainingInputs(identity, content, int(now.size), address)
    new, gone = (None, None) if before is None else examples.difference(now, before)
    decision, reason = _decided(last, identity, new, gone, least)
    return ChangeDecision(decision, reason, new, gone, seen)


def _decided(
    last: LastRun | None, identity: dict[str, str], new: int | None, gone: int | None, least: int
) -> tuple[str, str]:
    if last is None:
        return TRAIN, "no earlier run of this model has finished"
    if last.verdict == OVERTAKEN:
        return TRAIN, f"other runs changed the champion before run {last.run_id} could promote its model"
    changed = [name for key, name in NAMES.items() if identity.get(key) != last.seen.identity.get(key)]
    if changed:
        return TRAIN, f"{_listed(changed)} changed since {last.told}"
    if new is None or gone is None:
        return TRAIN, f"the examples of {last.told} are not in the registry any more"
    lost = f" and {gone:,} gone" if gone else ""
    noun = "example" if new == 1 and not gone else "examples"
    figures = f"{new:,} new{lost} {noun} since {last.told}, min_new_examples is {least:,}"
    return (TRAIN, figures) if max(new, gone) >= least else (SKIP, f"skipped: {figures}")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _hashes_of(last: LastRun) -> np.ndarray | None:
    """The hashes of the last run's examples; None if somebody deleted them."""
    with contextlib.suppress(storage.NotFound):
        return examples.from_bytes(storage.read_bytes(last.seen.examples))
    return None
