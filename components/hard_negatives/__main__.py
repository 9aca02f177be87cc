"""`python -m components.hard_negatives`: mine hard negatives for the training queries of a data set."""

from __future__ import annotations

from components.command_line import main, step_command
from sharpen.mining.settings import MiningAddresses, MiningSettings
from sharpen.settings import EncoderSettings


def _mine(addresses: MiningAddresses, settings: MiningSettings, encoder: EncoderSettings) -> None:
    from sharpen.mining.mine import mine

    mine(addresses.data, addresses.model, addresses.output, settings, encoder)


command = step_command(
    "hard_negatives",
    "Mine hard negatives for the training queries of a data set, leave out those that score like positives, and write "
    "them with a report.",
    [MiningAddresses, MiningSettings, EncoderSettings],
    _mine,
)

if __name__ == "__main__":
    main(command)
