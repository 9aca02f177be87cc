"""Settings of how sources share an epoch and its batches."""

from __future__ import annotations

from pydantic import Field, field_validator

from sharpen.settings import SettingsModel


class MixingSettings(SettingsModel):
    """How often the queries of each source come, and whether sources meet in a batch."""

    same_dataset_within_batch: bool = Field(False, description="All queries of a batch come from one source.")
    source_temperature: float = Field(
        1.0,
        ge=1,
        le=1000,
        description="A source of n queries has n**(1/this) as its share of an epoch; 1: every query once an epoch.",
    )
    source_weights: dict[str, float] = Field(
        {},
        max_length=1000,
        description="Name of a source: how often its queries come, beside one of as many and weight 1. Unset: as the "
        "data say.",
    )

    @field_validator("source_weights")
    @classmethod
    def _check_weights(cls, value: dict[str, float]) -> dict[str, float]:
        if unfit := [name for name, weight in value.items() if not 0 < weight <= 1e6]:
            raise ValueError(f"{unfit[0] or '(unnamed)'}: a weight is above 0 and at most 1e6")
        return value
