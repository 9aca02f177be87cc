"""``python -m components.finetuning``, alone or under torchrun; FlagEmbedding's command lines are taken as they are."""

from __future__ import annotations

import os
import sys

from pydantic import Field

from components.command_line import main, run, step_command
from sharpen.settings import EncoderSettings, SettingsModel
from sharpen.training.settings import TrainingSettings

# options that only FlagEmbedding's command line has, one of them always
FLAGEMBEDDING = ("--model_name_or_path", "--train_data")


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


def call_as_flagembedding(arguments: list[str]) -> None:
    """Train by FlagEmbedding's arguments; the first process says what is done otherwise."""
    from sharpen.training.flagembedding.command import from_arguments, parse_command_line

    training = from_arguments(*parse_command_line(arguments), processes=int(os.environ.get("WORLD_SIZE", "1")))
    if os.environ.get("RANK", "0") == "0":
        print("\n".join(f"note: {line}" for line in training.notes), flush=True)
    training.run()


def command_line() -> None:
    """Read the command line, in our form or in FlagEmbedding's, and train."""
    if any(argument.partition("=")[0] in FLAGEMBEDDING for argument in sys.argv[1:]):
        run(lambda: call_as_flagembedding(sys.argv[1:]), "finetuning")
        return
    summary = "Fine-tune a text-embedding model for retrieval. Under torchrun on several processes."
    main(step_command("finetuning", summary, [Addresses, TrainingSettings, EncoderSettings], call))


if __name__ == "__main__":
    command_line()
