"""`python -m sharpen.embeddings.workers --request FOLDER`: one of the processes that fill the vector cache."""

from __future__ import annotations

import argparse
from pathlib import Path

from sharpen import exit_status
from sharpen.processes.garbage import collect_garbage_rarely


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Encode a share of texts into the vector cache.")
    parser.add_argument("--request", type=Path, required=True, help="folder with the request")
    given = parser.parse_args()
    collect_garbage_rarely()
    exit_status.run(lambda: _work(given.request), "encoding")


def _work(folder: Path) -> None:
    from sharpen.embeddings.workers.worker import work

    work(folder)


if __name__ == "__main__":
    main()
