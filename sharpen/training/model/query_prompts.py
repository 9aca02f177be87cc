"""The prompts that training queries bring, which its queries need ever after."""

from __future__ import annotations

import numpy as np

from sharpen.models import model_config
from sharpen.models.encoder import Encoder
from sharpen.training.data.examples import Examples


def save_with(encoder: Encoder, examples: Examples) -> None:
    """Let the encoder have the prompts of its training queries as its own, so that they are saved with it.

    The most frequent becomes its default; where there are several, each is kept by its source too.
    """
    default, by_source = _prompts(encoder, examples)
    if any(not task.symmetric for task in examples.tasks):
        encoder.prompts["query"], encoder.source_prompts = default, by_source


def warnings(encoder: Encoder, examples: Examples) -> list[str]:
    """A line where the queries bring several prompts, of which only one can be the default."""
    default, by_source = _prompts(encoder, examples)
    if not by_source:
        return []
    prompts = {prompt for of_source in by_source.values() for prompt in of_source}
    return [
        f"the training queries bring {len(prompts):,} prompts; the most frequent, {default!r}, becomes the model's "
        "default, the others are saved by the names of their sources (sharpen search --prompt NAME)"
    ]


def _prompts(encoder: Encoder, examples: Examples) -> tuple[str, dict[str, list[str]]]:
    with_prompt = np.isin(examples.task, [n for n, task in enumerate(examples.tasks) if not task.symmetric])
    column = examples.query_table.data.column("instruction").to_pylist()
    instructions = [instruction for instruction, chosen in zip(column, with_prompt, strict=True) if chosen]
    texts = {instruction: encoder.query_prompt(instruction) for instruction in set(instructions)}
    sources = [examples.sources[source] or "" for source in examples.source[with_prompt].tolist()]
    return model_config.source_prompts(sources, [texts[instruction] for instruction in instructions])
