"""``python -m sharpen.tuning.trials.worker``: a trial, or the comparison at the end, in a process of its own.

What one trial leaves in memory does not burden the next, and one that is killed for want of memory ends alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sharpen import exit_status
from sharpen.processes.garbage import collect_garbage_rarely
from sharpen.tuning.trials.comparison import compare_as_requested
from sharpen.tuning.trials.request import Request
from sharpen.tuning.trials.trial import run_trial


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Do a trial of a search.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--trial", type=Path, help="folder with the request")
    what.add_argument("--compare", type=Path, help="folder with the request of a comparison")
    given = parser.parse_args()

    def work() -> None:
        if given.trial:
            run_trial(Request.read(given.trial))
        else:
            compare_as_requested(given.compare)

    collect_garbage_rarely()
    exit_status.run(work, "tuning")


if __name__ == "__main__":
    main()
