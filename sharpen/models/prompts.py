"""The text before every query and passage."""

from __future__ import annotations

from sharpen.models.architecture import Architecture
from sharpen.settings import EncoderSettings


def prompts(settings: EncoderSettings, facts: Architecture) -> dict[str, str]:
    """Prompt of each kind: the settings' instruction in its format, else the model's own prompt."""

    def one(instruction: str | None, template: str, default: str) -> str:
        if instruction is None:
            return default
        return template.format(instruction, "") if instruction else ""

    return {
        "query": one(
            settings.query_instruction_for_retrieval, settings.query_instruction_format, facts.prompts.get("query", "")
        ),
        "passage": one(
            settings.passage_instruction_for_retrieval,
            settings.passage_instruction_format,
            facts.prompts.get("passage", ""),
        ),
    }
