"""The public function that searches for settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharpen.api.inputs import Address, Data, Model, checked_settings, data_folder, model_folder, training_settings
from sharpen.api.results import OutputFolder, TuningResult


def tune(
    model: Model,
    data: Data,
    *,
    space: Mapping[str, Any] | None = None,
    output: Address | None = None,
    processes: int = 0,
    **settings: Any,
) -> TuningResult:
    """Search for the settings of mining and training that give the best nDCG@10 on dev; test is not looked at.

    Args:
        model: to start from; it is not changed.
        data: a data set with dev queries, or its address.
        space: full name of a setting -> ``"LOW..HIGH"``, ``"LOW..HIGH:log"`` or a list of values; None: one by the kind
            of model.
        output: local folder of the search, which goes on with what is there; None: a temporary one that lives as long
            as the result.
        processes: of each training, which then has processes of its own; 0: this one.
        settings: of `TuningSettings`, such as ``trials`` or ``minutes``; and of `TrainingSettings`, `MiningSettings`
            and `EncoderSettings`, with which the search begins.

    Raises:
        InputError: no such data, model or setting, a value that a setting does not take, no dev queries, or Optuna is
            not installed.
        StepFailed: no trial could be trained to the end.

    Example:
        ```python
        found = sharpen.tune(base, data, space={"training.learning_rate": "1e-6..1e-4:log"}, trials=20, minutes=60)
        model = sharpen.finetune(base, data, **found.best["training"])
        ```
    """
    from sharpen.mining.settings import StepSettings
    from sharpen.models.model_hub import resolve_model
    from sharpen.settings import EncoderSettings
    from sharpen.training.settings import TrainingSettings
    from sharpen.tuning.report.page import nested
    from sharpen.tuning.settings import TuningSettings
    from sharpen.tuning.space.dimension import of_yaml
    from sharpen.tuning.space.groups import Groups
    from sharpen.tuning.space.search_space import checked, default_space, kind_of_model
    from sharpen.tuning.tune import tune

    tuning, training, mining, encoder = checked_settings(
        settings, TuningSettings, TrainingSettings, StepSettings, EncoderSettings
    )
    read, base, folder = data_folder(data), model_folder(model), OutputFolder(output, "tuning")
    groups = Groups(training, mining, training_settings(model, encoder))
    if space is None:
        searched = default_space(kind_of_model(resolve_model(base.address), groups), groups)
    else:
        searched = checked(tuple(of_yaml(name, given) for name, given in space.items()), groups)
    where = Path(folder.address).absolute()
    found = tune(read.address, base.address, where, groups, searched, tuning, processes=processes)
    trials = [{"number": trial.number, **trial.values, **vars(trial.result)} for trial in found.trials]
    return TuningResult(folder.address, (folder,), nested(found.best.values), found.best.score, trials, str(found.page))
