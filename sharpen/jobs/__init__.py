"""Work on several processes and machines: one face, `run_job`, whatever starts them."""

from sharpen.jobs.run import check_job, run_job
from sharpen.jobs.settings import JobSettings

__all__ = ["JobSettings", "check_job", "run_job"]
