"""The evaluation steps between their KFP faces and the library: addresses and JSON in, what KFP shows out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from components.step_result import StepResult
from sharpen.evaluation import artifact
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.models.model_config import computing_part
from sharpen.settings import EncoderSettings
from sharpen.store import storage


@dataclass(frozen=True)
class Measurement:
    """What models are measured by in a run.

    Attributes:
        data: address of the data set.
        split: whose queries are searched.
        settings: of the evaluation.
        encoder: how this run trains. A model that was trained before says itself how it embeds, so that only how
            embeddings are computed is taken of them, except for a base model.
    """

    data: str
    split: str
    settings: EvaluationSettings
    encoder: EncoderSettings

    @classmethod
    def from_json(cls, data: str, split: str, settings: str, encoder: str) -> Measurement:
        """From the texts that a pipeline passes. Raises InputError: wrong settings."""
        checked = EvaluationSettings.from_json(settings, where="evaluation.")
        return cls(data, split, checked, EncoderSettings.from_json(encoder, where="encoder."))

    def measure_reference(self, model: str, address: str) -> StepResult:
        """Evaluate a trained model that others are compared with, such as the champion, into `address`."""
        return replace(self, settings=self.settings.of_references()).measure(model, address, {})

    def measure(
        self, model: str, address: str, against: Mapping[str, str], *, negatives: str = "", without: str = ""
    ) -> StepResult:
        """Evaluate a trained model into `address`. Raises what `evaluate` raises.

        Args:
            model: its address.
            address: of the new evaluation.
            against: name -> address of a finished evaluation, or empty.
            negatives: address of the mined negatives, for the report.
            without: address of a file of keys of queries that are left out.
        """
        from sharpen.evaluation.evaluate import evaluate

        manifest = evaluate(
            model,
            self.data,
            self.split,
            address,
            self.settings,
            computing_part(self.encoder),
            references=dict(against),
            context={"negatives": negatives},
            without=without,
        )
        return StepResult.of(address, manifest, artifact.REPORT)

    def measure_base(self, model: str, address: str) -> StepResult:
        """Evaluate a base model: as its own folder says, or with the run's settings, whichever is better on dev."""
        from sharpen.evaluation.evaluate import evaluate

        settings = self.settings.of_references()
        manifest = evaluate(model, self.data, self.split, address, settings, self.encoder, settings_of="better")
        return StepResult.of(address, manifest, artifact.REPORT)


@dataclass(frozen=True)
class Before:
    """What the tuned model is compared with.

    Attributes:
        result: what KFP shows.
        base, champion: addresses of the evaluations; that of the champion is empty where there is no champion.
        systems: name -> address of the evaluation of each other system, as JSON.
    """

    result: StepResult
    base: str
    champion: str
    systems: str


def measure_before(address: str, measurement: Measurement, base_model: str, champion_model: str) -> Before:
    """Evaluate the base model, the champion if there is one, and the systems of the settings, below `address`.

    Args:
        address: of the folder.
        measurement: what models are measured by.
        base_model, champion_model: their addresses; that of the champion may be empty.

    Raises:
        InputError: what later steps would refuse too, such as slices that the data do not have.
    """
    from sharpen.evaluation.evaluate import check_slices, evaluate_systems

    check_slices(measurement.data, measurement.split, measurement.settings)
    base = measurement.measure_base(base_model, storage.join(address, "base"))
    shown, champion = base, ""
    if champion_model:
        shown = measurement.measure_reference(champion_model, storage.join(address, "champion"))
        champion = shown.address
    systems = evaluate_systems(
        measurement.data,
        measurement.split,
        storage.join(address, "systems"),
        measurement.settings,
        measurement.encoder,
        {"base": base.address, "champion": champion},
    )
    return Before(StepResult(address, shown.page, shown.facts), base.address, champion, json.dumps(systems))


def measure_tuned(
    address: str,
    measurement: Measurement,
    model: str,
    against: Mapping[str, str],
    new_champion: str,
    *,
    negatives: str,
    without: str,
) -> StepResult:
    """Evaluate the tuned model into `address`, after the new champion if there is one. Raises what `evaluate` raises.

    What a champion has seen in training is no test of it, nor of a candidate that starts from it. The others are
    measured with all queries, so that what was measured before is not repeated; the comparison leaves them out.

    Args:
        address: of the new evaluation.
        measurement: what models are measured by.
        model: address of the tuned model.
        against: name (``base``, ``champion``, a system's) -> address of a finished evaluation, or empty.
        new_champion: address of the model that is the champion now; empty: `against` has it.
        negatives, without: as `Measurement.measure` has them.
    """
    if new_champion:
        folder, mark, query = address.partition("?")
        measured = measurement.measure_reference(new_champion, f"{folder.rstrip('/')}-champion{mark}{query}")
        against = {**against, "champion": measured.address}
    return measurement.measure(model, address, against, negatives=negatives, without=without)
