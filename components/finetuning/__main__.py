"""``python -m components.finetuning``, alone or under torchrun."""

from __future__ import annotations

from pydantic import Field

from components.command_line import main, step_command
from sharpen.settings import EncoderSettings, SettingsModel
from sharpen.training.settings import TrainingSettings


class Addresses(SettingsModel):
    """Where a training reads and writes."""

    data: str = Field(
        min_length=1, description="Data set: a finished one, a BEIR folder or FlagEmbedding JSONL; local or s3://."
    )
    negatives: str | None = Field(
        None, min_length=1, description="Mined negatives; unset: those in the data, else random passages."
    )
    model: str = Field(min_length=1, description="Base model: a folder, an s3:// address or a hub id.")
    output: str = Field(min_length=1, description="Where the new model goes: a new folder, local or s3://.")


def call(addresses: Addresses, training: TrainingSettings, encoder: EncoderSettings) -> None:
    """Train; heavy imports wait until the options are known to be right."""
    from sharpen.training.train import train

    train(addresses.data, addresses.negatives, addresses.model, addresses.output, training, encoder)


if __name__ == "__main__":
    main(
        step_command(
            "finetuning",
            "Fine-tune a text-embedding model for retrieval. Under torchrun on several processes.",
            [Addresses, TrainingSettings, EncoderSettings],
            call,
        )
    )
