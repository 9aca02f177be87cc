"""The data_prep step from a shell: ``python -m components.data_prep --help``."""

from __future__ import annotations

import shlex

from components.command_line import main, step_command
from sharpen.data.preparation.settings import DataAddresses, DataSettings, EarlierRuns, SelectionSettings


def call(addresses: DataAddresses, settings: DataSettings, selection: SelectionSettings, earlier: EarlierRuns) -> None:
    """Run the step and say what comes next."""
    from datetime import UTC, datetime

    from sharpen.data.preparation.data_plan import DataPlan, NothingNew
    from sharpen.data.preparation.prepare import prepare
    from sharpen.data.source_settings import parse_sources
    from sharpen.models.model_hub import find_tokenizer
    from sharpen.retraining.data_plan import complete_plan
    from sharpen.terminal import printable

    train, evaluation = (
        parse_sources(addresses.train_data, "train_data"),
        parse_sources(addresses.eval_data, "eval_data"),
    )
    tokenizer = find_tokenizer(settings.tokenizer) if settings.tokenizer else None
    plan = DataPlan.of(selection, train, lambda: earlier.today or datetime.now(UTC).date().isoformat())
    if earlier.registry:
        plan = complete_plan(earlier.registry, earlier.model_name, plan)
    try:
        prepare(train, evaluation, addresses.output, settings, plan, tokenizer)
    except NothingNew as nothing:
        print(printable(f"nothing to do: {nothing}"))
        return
    data = shlex.quote(addresses.output)
    print(f"next: python -m components.hard_negatives --data {data} --model MODEL --output FOLDER")


command = step_command(
    "data_prep",
    "Check, de-duplicate and split retrieval data.",
    [DataAddresses, DataSettings, SelectionSettings, EarlierRuns],
    call,
)

if __name__ == "__main__":
    main(command)
