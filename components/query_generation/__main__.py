"""`python -m components.query_generation`: let a language model write queries for documents that have none."""

from __future__ import annotations

import shlex

from components.command_line import main, step_command
from sharpen.generation.settings import GenerationAddresses, GenerationSettings
from sharpen.settings import EncoderSettings


def _generate(addresses: GenerationAddresses, settings: GenerationSettings, encoder: EncoderSettings) -> None:
    from sharpen.generation.generate import generate_queries

    generate_queries(
        *(addresses.documents, addresses.output, settings, encoder),
        base_model=addresses.base_model,
        examples=addresses.examples,
    )
    queries = shlex.quote(addresses.output)
    print(f"next: python -m components.data_prep --train_data {queries} --eval_data QUERIES_OF_PEOPLE --output FOLDER")


command = step_command(
    "query_generation",
    "Let a language model write queries for documents that have none, and write those that pass all filters as a data "
    "set.",
    [GenerationAddresses, GenerationSettings, EncoderSettings],
    _generate,
)

if __name__ == "__main__":
    main(command)
