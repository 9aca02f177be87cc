"""Settings of merging: how models become one, and how the weight of the tuned ones is chosen."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from sharpen.index.sizes import Variant, size_of
from sharpen.settings import SettingsModel, split_list

Method = Literal["interpolation", "average", "task_arithmetic"]


class MergingSettings(SettingsModel):
    """How the weights of models are added up."""

    method: Method = Field(
        "interpolation",
        description="interpolation: w tuned + (1 - w) base (LM-Cocktail, arXiv 2311.13534); average: the mean of the "
        "tuned models, without the base; task_arithmetic: base + w1 (tuned1 - base) + w2 (tuned2 - base) ... "
        "(arXiv 2212.04089).",
    )
    weights: tuple[float, ...] = Field(
        (),
        max_length=100,
        description="Weight of each tuned model, comma-separated; of an average in proportion to their sum. Empty: "
        "equal ones for an average, else one for all that is searched on dev and guard set.",
    )
    search_weights: tuple[float, ...] = Field(
        (0.0, 0.25, 0.5, 0.75, 1.0),
        min_length=1,
        max_length=100,
        description="Weights that are tried; 0 (the base) and 1 are always measured.",
    )
    rule: Literal["guarded", "mean"] = Field(
        "guarded",
        description="Which weight is taken. guarded: best evaluation.primary_metric on dev among those that lose at "
        "most max_guard_loss of it on the guard set; mean: best mean of dev and guard set.",
    )
    max_guard_loss: float = Field(
        0.01, ge=0, le=1, description="Most that the merged model may lose against the base on the guard set."
    )
    search_passages: int = Field(
        2_000,
        ge=1,
        le=100_000_000,
        description="Passages that dev queries are searched in while weights are tried: all relevant ones and others "
        "at random.",
    )

    served_size: str = Field(
        "",
        description="Size in which passages will be stored (dim:128, int8, binary, dim:128+int8), in which weights are "
        "tried. Empty: whole vectors.",
    )

    @field_validator("weights", "search_weights", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return split_list(value)

    @field_validator("search_weights")
    @classmethod
    def _with_both_ends(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted({0.0, 1.0, *value}))

    @field_validator("served_size")
    @classmethod
    def _is_a_size(cls, value: str) -> str:
        size_of(value)
        return value

    @model_validator(mode="after")
    def _possible(self) -> Self:
        low = 0.0 if self.method != "task_arithmetic" else -2.0
        high = 2.0 if self.method == "task_arithmetic" else 1e6 if self.method == "average" else 1.0
        for name, values in (("weights", self.weights), ("search_weights", self.search_weights)):
            if wrong := [value for value in values if not low <= value <= high]:
                raise ValueError(f"{name}: {wrong[0]:g} is not between {low:g} and {high:g}, as {self.method} needs")
        if self.method == "average" and self.weights and not sum(self.weights):
            raise ValueError("weights: at least one of an average must be above 0")
        if self.method == "interpolation" and len(self.weights) > 1:
            raise ValueError("weights: interpolation has one tuned model, so one weight; see method task_arithmetic")
        return self

    @property
    def size(self) -> Variant | None:
        """What `served_size` names."""
        return size_of(self.served_size)

    @property
    def searches(self) -> bool:
        """Whether the weight is to be found."""
        return self.method != "average" and not self.weights


class StepSettings(MergingSettings):
    """Merging as a step of a pipeline."""

    enabled: bool | None = Field(
        None,
        description="Merge the tuned model with the base model (and with merging.models) before it is evaluated. "
        "Unset: yes, unless pretraining is enabled; where models or data do not allow it (no dev queries, another "
        "architecture), the tuned model is passed on as it is, and page and report say why. true, or weights or models "
        "of merging set: then it is an error.",
    )
    models: tuple[str, ...] = Field(
        (),
        max_length=50,
        description="Other tuned models that are merged with the run's, for average and task_arithmetic, "
        "comma-separated: folders, s3:// addresses or hub ids; their weights come after that of the run's.",
    )

    @field_validator("models", mode="before")
    @classmethod
    def _split_models(cls, value: Any) -> Any:
        return split_list(value)

    @model_validator(mode="after")
    def _models_fit(self) -> Self:
        if self.models and self.method == "interpolation":
            raise ValueError("models: interpolation has one tuned model; set method to average or task_arithmetic")
        if self.weights and len(self.weights) != 1 + len(self.models):
            raise ValueError(f"weights: {1 + len(self.models)} needed, one for each tuned model, the run's first")
        return self

    @property
    def requested(self) -> bool:
        """Whether somebody asked for it: by `enabled`, or by weights or models, which serve nothing else."""
        return self.enabled or (self.enabled is None and bool(self.weights or self.models))

    def merging(self) -> MergingSettings:
        """What the library takes."""
        values = self.model_dump(exclude_unset=True, exclude={"enabled", "models"})
        return MergingSettings.checked(values)
