"""What a run reads: the inputs of its sources, each with its role and window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sharpen.data.preparation.data_plan import DataPlan, NothingNew
from sharpen.data.preparation.window_files import files_in_window
from sharpen.data.readers import InputFile, detect_inputs
from sharpen.data.readers.detect import source_name
from sharpen.data.source_settings import Given, SourceSettings, parse_sources
from sharpen.data.task_type import task_type
from sharpen.data.window import Window
from sharpen.errors import InputError

Role = Literal["train", "eval"]


@dataclass(frozen=True)
class Input:
    """An input with what it is for.

    Attributes:
        role: training or evaluation.
        item: its files.
        window: of its rows; None: all count.
        by_file: whether files outside of the window were left out.
        older: whether these are such files, which are read to be replayed.
    """

    role: Role
    item: InputFile
    window: Window | None = None
    by_file: bool = False
    older: bool = False


@dataclass(frozen=True)
class Inputs:
    """All inputs, and how many files windows left out: setting of the window -> figures."""

    found: list[Input]
    files: dict[str, dict[str, int]]


def find_inputs(train_data: Sequence[Given], eval_data: Sequence[Given], plan: DataPlan) -> Inputs:
    """Find the inputs of all sources.

    Args:
        train_data, eval_data: as `parse_sources` takes them.
        plan: the window of sources that have none.

    Raises:
        InputError: missing, empty or unusable input, all faults together.
        NothingNew: every file of the training data is older than its window.
    """
    train, evaluation = parse_sources(train_data, "train_data"), parse_sources(eval_data, "eval_data")
    found: list[Input] = []
    counts: dict[str, Counter[str]] = {}
    faults = [
        f"eval_data: {source.address}: weight, in_batch and since have no effect where nothing is trained; leave them "
        "out"
        for source in evaluation
        if source.weight != 1 or source.in_batch != "all" or source.since
    ]
    roles: tuple[tuple[Role, list[SourceSettings]], ...] = (("train", train), ("eval", evaluation))
    for role, sources in roles:
        for source in sources:
            window = Window.of(source.since or plan.since, plan.today) if role == "train" else None
            try:
                if source.task_type:
                    task_type(source.task_type)
                found += _inputs(role, source, window, counts, replay=bool(plan.replay_share))
            except InputError as error:
                faults += [f"{role}_data: {line}" for line in error.faults]
    faults += _contradictions(train)
    if not train:
        faults.append("train_data: no address given; name a file, a folder or python-source:stdlib")
    if faults:
        raise InputError(faults)
    if all(one.role == "eval" or one.older for one in found):
        starts = ", ".join(sorted(counts))
        raise NothingNew(f"every file of train_data is older than {starts}; bring newer data, or change since")
    return Inputs(found, {given: dict(count) for given, count in counts.items()})


def _inputs(
    role: Role, source: SourceSettings, window: Window | None, counts: dict[str, Counter[str]], *, replay: bool
) -> list[Input]:
    files = files_in_window(source.address, window) if window else None
    if not (window and files):
        return [Input(role, item, window) for item in detect_inputs(source)]
    counts.setdefault(window.given, Counter()).update(files.counts)
    inside = [Input(role, item, window, by_file=True) for item in detect_inputs(source, files.inside)]
    older = detect_inputs(source, files.older) if replay else []
    renamed = [replace(item, name=f"{item.name}-older") if item.settings else item for item in older]
    return inside + [Input(role, item, window, by_file=True, older=True) for item in renamed]


def _contradictions(sources: list[SourceSettings]) -> list[str]:
    """A line for each name that several sources have which are to be trained differently."""
    ways: dict[str, set[tuple[float, str]]] = {}
    for source in sources:
        if not source.is_plain:
            ways.setdefault(source_name(source), set()).add((source.weight, source.in_batch))
    return [
        f"train_data: several sources are called {name} and have another weight or in_batch; give them names"
        for name, found in ways.items()
        if len(found) > 1
    ]
