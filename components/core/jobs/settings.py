"""How the processes of a job are started."""

from __future__ import annotations

from pydantic import Field

from components.core.settings import SettingsModel


class JobSettings(SettingsModel):
    """Processes of a training job."""

    processes: int = Field(0, ge=0, le=1024, description="Training processes on this machine. 0: one a GPU, else one.")
    threads: int = Field(0, ge=0, le=1024, description="Threads of each process. 0: cores divided by processes.")
