"""Work on several processes and machines: one face, `run_job`, whatever starts them."""

from components.core.jobs.run import run_job
from components.core.jobs.settings import JobSettings

__all__ = ["JobSettings", "run_job"]
