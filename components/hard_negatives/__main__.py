"""`python -m components.hard_negatives`: mine hard negatives for the training queries of a data set."""

from __future__ import annotations

from components.core.command import main, step_command
from components.core.settings import EncoderSettings
from components.hard_negatives.settings import MiningAddresses, MiningSettings


def _mine(addresses: MiningAddresses, settings: MiningSettings, encoder: EncoderSettings) -> None:
    from components.hard_negatives.mine import mine
    from components.hard_negatives.show import show

    mine(addresses.data, addresses.model, addresses.output, settings, encoder)
    show(addresses.output)


command = step_command(
    "hard_negatives",
    "Mine hard negatives for the training queries of a data set, leave out those that score like positives, and write "
    "them with a report.",
    [MiningAddresses, MiningSettings, EncoderSettings],
    _mine,
)

if __name__ == "__main__":
    main(command)
