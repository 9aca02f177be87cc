"""What is decided about a run's data before they are read: what earlier runs fix, and what is trained on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Self

from sharpen import typed_json
from sharpen.data.preparation.settings import SelectionSettings
from sharpen.data.source_settings import SourceSettings
from sharpen.data.window import is_relative
from sharpen.errors import InputError


@dataclass(frozen=True)
class DataPlan:
    """What a run's place among its model's runs says about its data.

    Attributes:
        today: day (ISO 8601) from which windows such as 30d count; empty where nothing depends on it.
        since: window of all sources of training data that have none; empty: all rows.
        only_new: whether what champions were trained on is left out.
        replay_share: share of the training examples that is drawn from those that `since` or `only_new` leave out.
        held_out: address of the keys of queries that were dev or test (`query_keys.read_held_out`); empty: none.
        trained_queries: address of the keys of queries that champions were trained on; empty: none.
        trained_examples: address of the hashes of the examples that champions were trained on; empty: none.
    """

    today: str = ""
    since: str = ""
    only_new: bool = False
    replay_share: float = 0.0
    held_out: str = ""
    trained_queries: str = ""
    trained_examples: str = ""

    @classmethod
    def of(cls, settings: SelectionSettings, train_data: Sequence[SourceSettings], today: Callable[[], str]) -> Self:
        """The plan of what the user set.

        Args:
            settings: what is selected.
            train_data: the sources, which may have windows of their own.
            today: gives the day of the run (ISO 8601); called where a window is counted from it.

        Raises:
            InputError: older examples are to be trained on again, but none are left out.
        """
        settings.check(train_data)
        windows = [settings.since, *(source.since for source in train_data)]
        return cls(
            today=today() if any(map(is_relative, windows)) else "",
            since=settings.since,
            only_new=settings.only_new,
            replay_share=settings.replay_share,
        )

    def as_json(self) -> str:
        """One line of JSON, equal for equal plans; empty for a plan that decides nothing."""
        return "" if self == DataPlan() else json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> DataPlan:
        """The object of `as_json`. Raises InputError when the text is something else."""
        return typed_json.parse(cls, text, "plan of the data") if text else cls()


class NothingNew(InputError):
    """Windows, or what champions were trained on already, leave no example to train on."""
