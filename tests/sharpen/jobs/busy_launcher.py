"""A launching step as a process of its own: ``python -m ... THREADS FILE``.

Once the file is there so many threads leave the interpreter no rest.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from sharpen.console import enable_logging
from sharpen.errors import StepFailed
from sharpen.jobs.run import run_job
from tests.sharpen.jobs.stories import a_job


def spin(begin: Path) -> None:
    while not begin.exists():
        time.sleep(0.05)
    while True:
        sum(range(1000))


if __name__ == "__main__":
    enable_logging()
    for _ in range(int(sys.argv[1])):
        threading.Thread(target=spin, args=[Path(sys.argv[2])], daemon=True).start()
    job = a_job()
    try:
        run_job(job.module, job.arguments, job.settings.model_copy(update={"backend": "pytorchjob"}))
    except StepFailed as error:
        print(error, flush=True)
        sys.exit(1)
