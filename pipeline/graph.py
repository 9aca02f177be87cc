"""What runs in which order: the pipeline, and nothing else.

One definition for the laptop and the cluster. Bulk data travels as addresses (parameters of type str), because an input
artifact would be copied whole through every pod.
"""

# A call of a component makes a task, which its Python signature does not say.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false

# No `from __future__ import annotations`: kfp reads the annotations as objects.

import inspect

from kfp import dsl

from components.data_prep.component import data_prep, fingerprint
from components.evaluation.component import evaluation
from components.finetuning.component import finetuning
from components.hard_negatives.component import hard_negatives
from components.promotion.component import current_champion, gate, promotion
from pipeline.finish import finish
from pipeline.parameters import TOP_LEVEL, Settings
from pipeline.resolve import check_settings

PIPELINE_NAME = "sharpen"


def _graph(
    train_data: str, eval_data: str, base_model: str, model_name: str, store: str, overrides: str = "{}"
) -> None:
    at_the_end = finish(model_name=model_name).set_display_name("finish")
    at_the_end.set_caching_options(False)
    with dsl.ExitHandler(at_the_end, name="run"):
        # Not cached: these three look at what may have changed outside.
        checked = check_settings(
            train_data=train_data,
            eval_data=eval_data,
            base_model=base_model,
            model_name=model_name,
            store=store,
            overrides=overrides,
        ).set_caching_options(False)
        seen = fingerprint(train_data=train_data, eval_data=eval_data, base_model=base_model).after(checked)
        seen.set_caching_options(False)
        champion = current_champion(model_name=model_name, store=store).after(checked)
        champion.set_caching_options(False)

        # Cached: the content fingerprint and the step's own settings are inputs, so a hit is always right.
        data = data_prep(
            train_data=train_data, eval_data=eval_data, settings=checked.outputs["data"], fingerprint=seen.output
        )
        shared = {"encoder": checked.outputs["encoder"], "fingerprint": seen.output}
        measured = {
            "data": data.outputs["Output"],
            "split": "test",
            "settings": checked.outputs["evaluation"],
            **shared,
        }
        alone = {"base": "", "champion": "", "negatives": "", **measured}
        base = evaluation(model=base_model, name="evaluation-base", **alone)
        base.set_display_name("evaluate base model")
        reigning = evaluation(model=champion.output, name="evaluation-champion", **alone)
        reigning.set_display_name("evaluate champion")
        negatives = hard_negatives(
            data=data.outputs["Output"], model=base_model, settings=checked.outputs["mining"], **shared
        )
        tuned = finetuning(
            data=data.outputs["Output"],
            negatives=negatives.outputs["Output"],
            base_model=base_model,
            settings=checked.outputs["training"],
            job=checked.outputs["job"],
            **shared,
        )
        result = evaluation(
            model=tuned.outputs["Output"],
            name="evaluation-tuned",
            base=base.outputs["Output"],
            champion=reigning.outputs["Output"],
            negatives=negatives.outputs["Output"],
            **measured,
        )
        result.set_display_name("evaluate tuned model")

        # Not cached: a decision is made anew in every run.
        verdict = gate(evaluation=result.outputs["Output"], settings=checked.outputs["promotion"])
        verdict.set_caching_options(False)
        with dsl.If(verdict.outputs["Output"] == "promote", name="promote"):
            promotion(
                model=tuned.outputs["Output"],
                evaluation=result.outputs["Output"],
                model_name=model_name,
                store=store,
                settings=checked.outputs["promotion"],
            ).set_caching_options(False)


def _with_inputs_from_settings() -> None:
    """Give the pipeline function the defaults and the help of the settings; the UI's run form shows both."""
    fields = {name: Settings.model_fields[name] for name in TOP_LEVEL}
    signature = inspect.signature(_graph)
    parameters = [
        parameter.replace(default=fields[name].default) if name in fields else parameter
        for name, parameter in signature.parameters.items()
    ]
    _graph.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    helps = [f"    {name}: {field.description}" for name, field in fields.items()]
    helps.append('    overrides: Any other setting as a JSON object, for example {"training.temperature": 0.05}.')
    summary = "Fine-tune a text-embedding model for retrieval on your own data, measure it, promote it if it is better."
    _graph.__doc__ = summary + "\n\nArgs:\n" + "\n".join(helps) + "\n"


_with_inputs_from_settings()
sharpen = dsl.pipeline(name=PIPELINE_NAME)(_graph)
