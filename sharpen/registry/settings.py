"""Settings of the promotion step: when a model is good enough, and where it goes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from sharpen.settings import SettingsModel

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
"""Names of models: they become parts of addresses, of Kubernetes names and of URLs."""

NAME_RULE = "use lower-case letters, digits and hyphens, at most 63, beginning and ending with a letter or digit"

VERSION_PATTERN = r"^v[0-9]{4,18}$"
"""Numbers of versions."""

ALL_SLICES = "*"
"""In `max_slice_regression`: every slice that nothing else names."""

Drop = Annotated[float, Field(ge=0, le=1)]


class PromotionSettings(SettingsModel):
    """The gate. The reference is the present champion, or the base model while there is none."""

    metric: str = Field(
        "ndcg_at_10", pattern=r"^[a-z_]+_at_[0-9]+$", description="The metric whose gain over the reference decides."
    )
    min_gain: float = Field(
        0.0, ge=-1, le=1, description="Smallest gain of the metric's mean over the reference that is enough."
    )
    mode: Literal["significant", "mean", "never"] = Field(
        "significant",
        description="What decides. significant: besides the means, the lower bound of the gain's confidence interval "
        "must be above 0 and the paired randomisation test agree, and max_regression is judged by its interval; mean: "
        "the means alone; never: only report: decide as significant does and say why, but leave the registry as it is.",
    )
    max_regression: dict[str, Drop] = Field(
        {"mrr_at_10": 0.03, "recall_at_100": 0.03},
        description="Other metric -> the drop below the reference that must be ruled out: the lower bound of its "
        "difference's interval may not lie deeper; {} guards none.",
    )
    min_queries: int = Field(
        100, ge=1, description="Fewest test queries on which a decision may rest; with fewer the gate cannot tell."
    )
    min_groups: int = Field(
        10,
        ge=1,
        description="Fewest groups (documents, files) that the test queries may come from; with fewer the gate cannot "
        "tell.",
    )
    promote_when_undecided: bool = Field(
        False,
        description="Where test queries or groups are too few to tell, let the other rules decide instead of keeping "
        "the present model.",
    )
    accept_new_terms: bool = Field(
        False,
        description="Let a model replace a champion that was chosen by another metric, on which the model is worse, or "
        "with another relevance_level or ignore_identical_ids.",
    )

    max_slice_regression: dict[str, Drop] = Field(
        {},
        description="Part of the test queries -> the drop of metric that is allowed there. field=value (language=de): "
        "a deeper drop must be ruled out, as max_regression says. field, or * for every part: no part may drop deeper "
        "and significantly, with Holm's correction over all these parts. Needs evaluation.slices.",
    )
    min_slice_queries: int = Field(
        50,
        ge=1,
        description="Fewest queries by which a slice is judged; with fewer, one that is named by its value leaves the "
        "gate unable to tell, others are left out.",
    )
    max_guard_regression: dict[str, Drop] = Field(
        {},
        description="Metric -> the drop on the guard set that must be ruled out, as max_regression says, so that a "
        "model that has forgotten what it was not tuned on is refused. Needs evaluation.guard_data.",
    )
    variant: str = Field(
        "",
        description="Size and precision that will be served, as evaluation.variants names it: gain, significance and "
        "max_regression are judged by it, against the reference in the same size. Empty: the model as it is.",
    )
    max_latency_ms: float | None = Field(
        None,
        gt=0,
        description="Longest time of a query in milliseconds (95th percentile) of the variant that is served.",
    )
    max_bytes_per_passage: float | None = Field(
        None, gt=0, description="Most bytes of the index for each passage, of the variant that is served."
    )
    max_index_mib: float | None = Field(
        None, gt=0, description="Largest index of the test corpus in MiB, of the variant that is served."
    )
    approval: bool = Field(
        False,
        description="A model that passes is registered and waits until a person makes it the champion (sharpen models "
        "approve) or refuses it; the run ends well meanwhile.",
    )

    @field_validator("max_slice_regression")
    @classmethod
    def _slices(cls, value: dict[str, float]) -> dict[str, float]:
        if wrong := [name for name in value if not name.strip() or name.startswith("=") or name.endswith("=")]:
            raise ValueError(f"{', '.join(wrong) or 'an empty name'}: write field, field=value or {ALL_SLICES}")
        return value

    @field_validator("max_regression", "max_guard_regression")
    @classmethod
    def _names(cls, value: dict[str, float]) -> dict[str, float]:
        import re

        if wrong := [name for name in value if not re.fullmatch(r"[a-z_]+_at_[0-9]+", name)]:
            raise ValueError(f"{', '.join(wrong)}: name metrics as in metrics.json, for example recall_at_100")
        return value

    @property
    def require_significance(self) -> bool:
        """Whether the gain must be significant."""
        return self.mode != "mean"

    @property
    def limits_serving(self) -> bool:
        """Whether a rule is about latency or size."""
        return any(x is not None for x in (self.max_latency_ms, self.max_bytes_per_passage, self.max_index_mib))

    @property
    def dry_run(self) -> bool:
        """Whether nothing is promoted, whatever the decision."""
        return self.mode == "never"

    def needed_metrics(self) -> list[str]:
        """The metrics that an evaluation must hold for the gate to decide."""
        return [self.metric, *(name for name in sorted(self.max_regression) if name != self.metric)]


class PromotionAddresses(SettingsModel):
    """What is promoted, on whose word, and where to."""

    model: str = Field(min_length=1, description="Finished folder of the tuned model; local or s3://.")
    evaluation: str = Field(
        min_length=1, description="Finished evaluation of that model, compared with base or champion."
    )
    model_name: str = Field(description=f"Name in the registry; {NAME_RULE}.")
    registry: str = Field(min_length=1, description="Root of the registry: models/ is made below it; local or s3://.")

    @field_validator("model_name")
    @classmethod
    def _name(cls, value: str) -> str:
        import re

        if not re.fullmatch(NAME_PATTERN, value):
            raise ValueError(NAME_RULE)
        return value
