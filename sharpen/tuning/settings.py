"""Settings of a search."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sharpen.settings import SettingsModel


class TuningSettings(SettingsModel):
    """How many settings are tried, for how long, and which are given up early."""

    trials: int = Field(20, ge=1, le=10_000, description="Settings to try, those of the configuration included.")
    minutes: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Time of the search, over all starts: no trial begins after it, and one that runs ends at its next "
        "dev evaluation. Unset: as long as the trials take.",
    )
    evaluations: int = Field(4, ge=1, le=100, description="Dev evaluations of a training, at equal distances.")
    pruning: Literal["halving", "hyperband", "off"] = Field(
        "halving",
        description="Which trainings end early, by their dev score at an evaluation: successive halving "
        "(asynchronous), Hyperband, or none.",
    )
    reduction_factor: int = Field(
        2, ge=2, le=10, description="Of the trials that reach a rung, one in this many goes on."
    )
    repeats: int = Field(
        2,
        ge=0,
        le=20,
        description="Other seeds with which the best settings and those of the configuration are trained again at the "
        "end, where the time allows.",
    )
    second: Literal["seconds", "guard"] = Field(
        "seconds",
        description="What the report sets the dev score against: the time of a training, or its nDCG@10 on the guard "
        "set (general queries: what was forgotten).",
    )
    guard_data: str = Field(
        "general",
        min_length=1,
        description="With second=guard: address of general data; general: the small sample that comes with Sharpen.",
    )
    seed: int = Field(42, ge=0, le=2**31 - 1, description="Seed of the proposals.")
