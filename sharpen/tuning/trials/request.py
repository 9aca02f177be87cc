"""What a trial shall do, as it passes from the search to the process that does it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from sharpen.store import local_store
from sharpen.tuning.records import Result
from sharpen.tuning.settings import TuningSettings
from sharpen.tuning.space.groups import Groups

_REQUEST, _RESULT = "request.json", "result.json"


@dataclass(frozen=True)
class Request:
    """A training to do.

    Attributes:
        data: address of the prepared data.
        model: address of the model to start from.
        groups: the settings.
        folder: local folder of the trial: request, result, log, model.
        negatives: local folder below which mined negatives are, for all trials with equal settings of mining.
        tuning: settings of the search.
        study: folder of the study that is told the dev scores; empty: none, and the training is not ended by them.
        trial: number of the trial in the study.
        base_score: of the untrained model on dev; None: unknown.
        ends_at: time (seconds since the epoch) after which it ends at the next dev evaluation; None: never.
        keep_model: whether its model is wanted.
    """

    data: str
    model: str
    groups: Groups
    folder: str
    negatives: str
    tuning: TuningSettings
    study: str = ""
    trial: int = -1
    base_score: float | None = None
    ends_at: float | None = None
    keep_model: bool = True

    @property
    def path(self) -> Path:
        """The trial's folder."""
        return Path(self.folder)

    def write(self) -> None:
        """Write it into its folder."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values |= {"groups": self.groups.as_json(), "tuning": self.tuning.model_dump(mode="json")}
        local_store.replace(self.path / _REQUEST, json.dumps(values).encode(), private=True)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `write` wrote."""
        values = json.loads((folder / _REQUEST).read_text(encoding="utf-8"))
        values |= {
            "groups": Groups.from_json(values["groups"]),
            "tuning": TuningSettings.checked(values["tuning"]),
        }
        return cls(**values)

    def write_result(self, result: Result) -> None:
        """Write what came of it into its folder."""
        local_store.replace(self.path / _RESULT, json.dumps(dataclasses.asdict(result)).encode(), private=True)

    def read_result(self) -> Result:
        """What `write_result` wrote."""
        return Result(**json.loads((self.path / _RESULT).read_text(encoding="utf-8")))

    def with_seed(self, seed: int) -> Request:
        """The same training with another seed."""
        return replace(self, groups=self.groups.with_values({"training.seed": seed}))
