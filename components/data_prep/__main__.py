"""The data_prep step from a shell: ``python -m components.data_prep --help``."""

from __future__ import annotations

import shlex

from components.core.command import main, step_command
from components.data_prep.settings import DataAddresses, DataSettings


def call(addresses: DataAddresses, settings: DataSettings) -> None:
    """Run the step and say what comes next."""
    from components.core.readers import split_addresses
    from components.data_prep.prepare import prepare

    prepare(split_addresses(addresses.train_data), split_addresses(addresses.eval_data), addresses.output, settings)
    data = shlex.quote(addresses.output)
    print(f"next: python -m components.hard_negatives --data {data} --model MODEL --output FOLDER")


command = step_command(
    "data_prep",
    "Check, de-duplicate and split retrieval data.",
    [DataAddresses, DataSettings],
    call,
)

if __name__ == "__main__":
    main(command)
