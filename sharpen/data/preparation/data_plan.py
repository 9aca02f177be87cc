"""What is decided about a run's data before they are read: what earlier runs fix, and what is trained on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from sharpen import typed_json
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

    @property
    def selects(self) -> bool:
        """Whether a part of the examples is left out, so that those of the sources are counted apart."""
        return bool(self.since or self.only_new)

    def as_json(self) -> str:
        """One line of JSON, equal for equal plans; empty for a plan that decides nothing."""
        return "" if self == DataPlan() else json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> DataPlan:
        """The object of `as_json`. Raises InputError when the text is something else."""
        return typed_json.parse(cls, text, "plan of the data") if text else cls()


class NothingNew(InputError):
    """Windows, or what champions were trained on already, leave no example to train on."""
