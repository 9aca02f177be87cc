"""``python -m components.merging``: several models become one."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from components.command_line import main, step_command
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.merging.settings import MergingSettings
from sharpen.settings import EncoderSettings, SettingsModel, split_list
from sharpen.terminal import plain_console


class Addresses(SettingsModel):
    """What is merged, and where the result goes."""

    models: tuple[str, ...] = Field(
        min_length=1, max_length=100, description="Tuned models, comma-separated: folders, s3:// addresses or hub ids."
    )
    base: str = Field("", description="Model that they were tuned from; an average needs none.")
    data: str = Field("", description="Data set whose dev queries a weight is searched on.")
    output: str = Field(min_length=1, description="Where the new model goes: a new folder, local or s3://.")
    page: str = Field("", description="File for the page, HTML: gain against forgetting by weight.")

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return split_list(value)


def call(
    addresses: Addresses, merging: MergingSettings, evaluation: EvaluationSettings, encoder: EncoderSettings
) -> None:
    """Merge; heavy imports wait until the options are known to be right."""
    from sharpen.merging.merge import merge
    from sharpen.merging.model_card import terms
    from sharpen.merging.report import render_page
    from sharpen.store import storage

    given = {"base": addresses.base, "data": addresses.data, "evaluation": evaluation, "encoder": encoder}
    facts = merge(addresses.models, addresses.output, merging, **given)
    lines = [f"merged  {' + '.join(terms(facts))}", f"why     {facts['reason']}"]
    if addresses.page:
        storage.write_bytes(addresses.page, render_page(facts).encode())
        lines.append(f"page    {addresses.page}")
    data = addresses.data or "DATA"
    lines.append(f"next    python -m components.evaluation --model {addresses.output} --data {data} --output OUT")
    for line in lines:
        plain_console().print(line, soft_wrap=True)


command = step_command(
    "merging",
    "Merge models of one architecture, weight by weight: a tuned model with its base, so that it forgets less; or "
    "several tuned models.",
    [Addresses, MergingSettings, EvaluationSettings, EncoderSettings],
    call,
)

if __name__ == "__main__":
    main(command)
