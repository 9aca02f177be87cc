"""The data_prep step from a shell: ``python -m components.data_prep --help``."""

from __future__ import annotations

import shlex

from components.command_line import main, step_command
from sharpen.data.preparation.settings import DataAddresses, DataSettings


def call(addresses: DataAddresses, settings: DataSettings) -> None:
    """Run the step and say what comes next."""
    from sharpen.data.preparation.prepare import prepare
    from sharpen.data.source_settings import parse_sources
    from sharpen.models.model_hub import find_tokenizer

    sources = parse_sources(addresses.train_data, "train_data"), parse_sources(addresses.eval_data, "eval_data")
    tokenizer = find_tokenizer(settings.tokenizer) if settings.tokenizer else None
    prepare(*sources, addresses.output, settings, tokenizer=tokenizer)
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
