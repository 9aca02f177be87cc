"""How long what is kept."""

from __future__ import annotations

from pydantic import Field

from sharpen.settings import SettingsModel


class RetentionSettings(SettingsModel):
    """What a collection may delete, of what no champion, alias or waiting version needs."""

    days: float = Field(30, ge=0.0, le=36_500, description="Days since the last write after which runs and vectors go.")
    versions: int = Field(5, ge=1, le=10_000, description="Newest versions of each model that stay whatever their age.")
    leftover_days: float = Field(
        7, ge=0.0, le=36_500, description="Days since the last write after which leftovers of failed runs go."
    )
