"""`--preset auto`: the preset that fits the data, the base model and the machine, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.presets.data_facts import DataFacts, read_facts
from pipeline.presets.machine import Machine, read_machine
from sharpen.models.model_hub import is_decoder_only

if TYPE_CHECKING:
    from pipeline.parameters import Settings

FEW, MANY = 5_000, 300_000
"""Rows below which a preset for hundreds of pairs fits, and from which on one for millions does."""

_MINUTES = 60.0


@dataclass(frozen=True)
class Choice:
    """A preset and why it was chosen.

    Attributes:
        name: of the preset.
        reason: what was seen, in a line.
        settings: what else follows from what was seen, as a file of settings holds it; what the user set stands above.
        moved: settings of the user that `settings` has in another place.
    """

    name: str
    reason: str
    settings: dict[str, Any] = field(default_factory=dict)
    moved: tuple[str, ...] = ()

    def without_moved(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What a user set, without what was moved."""
        return {name: value for name, value in values.items() if name not in self.moved}


def choose(settings: Settings, *, on_cluster: bool = False) -> Choice:
    """The preset for a run with these settings.

    Args:
        settings: what the user set; data, base model and job count.
        on_cluster: whether it will run on a cluster, of which only the job's settings are known here.

    Raises:
        InputError: there are no data at the addresses.
    """
    machine = read_machine(settings.job, on_cluster=on_cluster)
    if settings.generation.enabled:
        return Choice("no-labels", "queries are to be written (generation.enabled)")
    facts = read_facts(settings.train_data)
    decoder = is_decoder_only(settings.base_model)
    return decide(facts, machine, decoder, settings)


def decide(facts: DataFacts, machine: Machine, decoder: bool | None, settings: Settings) -> Choice:
    """The preset for what was seen.

    Args:
        facts: of the data.
        machine: where it would run.
        decoder: whether the base model is a decoder; None: not known.
        settings: what the user set.
    """
    seen = "; ".join(facts.read)
    if (facts.documents and not facts.rows) or facts.labelled is False:
        reason = f"{seen}, and no queries: a language model writes them; set generation.endpoint"
        documents = {"documents": settings.train_data}
        return Choice("no-labels", reason, {"generation": documents, "train_data": ""}, ("train_data",))
    extra = _for_machine(machine, settings)
    minutes = "; without a GPU it stops after an hour (training.max_train_minutes)" if extra else ""
    if decoder:
        slow = "" if machine.gpus else ", which is slow without a GPU"
        return Choice("decoder-lora", f"{settings.base_model} is a decoder{slow}{minutes}", extra)
    if facts.code and not facts.rows:
        return Choice("code", f"{seen} (on {machine.words}){minutes}", extra)
    if len(facts.main_languages) > 1:
        shares = ", ".join(f"{code} {100 * facts.languages[code]:.0f} %" for code in facts.main_languages)
        base = {"base_model": settings.base_model} if "base_model" in settings.model_fields_set else {}
        return Choice(
            "multilingual", f"{seen}, in several languages ({shares}; on {machine.words}){minutes}", extra | base
        )
    about = "" if facts.exact else "about "
    counted = f"{about}{facts.rows:,} rows on {machine.words}"
    if facts.rows >= MANY and machine.gpus and machine.on_cluster:
        return Choice("millions", f"{counted}: from {MANY:,} on, batches over all GPUs of the job", _of_job(settings))
    if facts.rows >= MANY:
        return Choice(
            "tens-of-thousands", f"{counted}: millions is for GPUs of a cluster (job.gpus_per_node){minutes}", extra
        )
    if facts.rows and facts.rows < FEW:
        return Choice("hundreds", f"{counted}: fewer than {FEW:,} want small batches and a larger test{minutes}", extra)
    return Choice("tens-of-thousands", f"{counted if facts.rows else seen}{minutes}", extra)


def _for_machine(machine: Machine, settings: Settings) -> dict[str, Any]:
    """Without a GPU a training must end; on a cluster pods are asked for as they are needed."""
    limited = {"max_train_minutes", "max_steps"} & settings.training.model_fields_set
    return {} if machine.gpus or machine.on_cluster or limited else {"training": {"max_train_minutes": _MINUTES}}


def _of_job(settings: Settings) -> dict[str, Any]:
    """What the job was given stands, where the preset would ask for more."""
    return {"job": {"nodes": settings.job.nodes, "gpus_per_node": settings.job.gpus_per_node}}
