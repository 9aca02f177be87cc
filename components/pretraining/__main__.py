"""``python -m components.pretraining``, alone or under torchrun."""

from __future__ import annotations

from pydantic import Field

from components.command_line import main, step_command
from sharpen.pretraining.settings import PretrainingSettings
from sharpen.settings import EncoderSettings, SettingsModel


class Addresses(SettingsModel):
    """Where a pre-training reads and writes."""

    data: str = Field(
        min_length=1, description="Data set, whose passages are taken, or passages alone; local or s3://."
    )
    model: str = Field(min_length=1, description="Base model: a folder, an s3:// address or a hub id.")
    output: str = Field(min_length=1, description="Where the new model goes: a new folder, local or s3://.")


def call(addresses: Addresses, pretraining: PretrainingSettings, encoder: EncoderSettings) -> None:
    """Train; heavy imports wait until the options are known to be right."""
    from sharpen.pretraining.pretrain import pretrain

    pretrain(addresses.data, addresses.model, addresses.output, pretraining, encoder)


command = step_command(
    "pretraining",
    "Train a text encoder further on a corpus without queries (RetroMAE or masked-language modelling), before it is "
    "fine-tuned. Under torchrun on several processes.",
    [Addresses, PretrainingSettings, EncoderSettings],
    call,
)

if __name__ == "__main__":
    main(command)
