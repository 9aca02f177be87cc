"""Merging: models of one architecture -> one model, whose weights are a weighted sum of theirs."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sharpen.errors import InputError
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.merging import model_card, unmerged
from sharpen.merging.errors import NotMergeable
from sharpen.merging.search import SearchData, choose, table_of, warning
from sharpen.merging.settings import MergingSettings
from sharpen.merging.sources import Source, check_compatible
from sharpen.merging.weights import check_same, write_merged
from sharpen.models import architecture, loading, model_check, model_hub
from sharpen.models.weights import WeightFiles
from sharpen.progress import progress
from sharpen.run_context import run_id
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.version import code_version

logger = logging.getLogger(__name__)

FACTS = "merging.json"
# What a merged model takes of the first tuned one besides its weights.
_TAKEN = {".json", ".txt", ".model", ".codes", ".md"}
_NOT_TAKEN = {storage.MARKER, FACTS, "provenance.json"}


def merge(
    tuned: Sequence[str],
    output: str,
    settings: MergingSettings,
    *,
    base: str = "",
    data: str = "",
    evaluation: EvaluationSettings | None = None,
    encoder: EncoderSettings | None = None,
    requested: bool = True,
) -> dict[str, Any]:
    """Merge models and write the result as a finished folder, which is used as the first tuned one.

    Args:
        tuned: addresses of tuned models.
        output: address of the new model.
        settings: how; without weights, except for an average, one is searched.
        base: address of the model that they were tuned from; an average needs none.
        data: address of the data set whose dev queries a search measures; its test queries are not looked at.
        evaluation: metric and guard set of a search.
        encoder: how embeddings of a search are computed.
        requested: whether somebody asked for it; else what models or data do not allow is no fault: the first tuned
            model is written as it is; and a search does not end with the base model where another weight gains on dev.

    Returns:
        What was written to ``merging.json``.

    Raises:
        NotMergeable: models that do not fit together, or data without dev queries for a search.
        InputError: no base, no data for a search, or a wrong number of weights.
        StepFailed: an embedding of a merged model is no number.
    """
    started = time.monotonic()
    _check(tuned, settings, base, data)
    storage.check_access(output, write=True)
    common = {"data": data, "code_version": code_version(), "run": run_id()}
    with TemporaryDirectory(prefix="sharpen-") as scratch:
        try:
            models = tuned, base, data
            mixture, facts = _weighed(*models, settings, evaluation, encoder, Path(scratch), requested=requested)
        except NotMergeable as error:
            if requested:
                raise
            mixture, facts = None, unmerged.facts_of(Source.open(tuned[0]), settings, error.faults)
        facts |= common
        logger.log(
            logging.INFO if facts["merged"] else logging.WARNING,
            f"merging: {facts['reason']}; {', '.join(model_card.terms(facts))}",
        )
        for note in facts["notes"]:
            logger.warning(f"note: {note}")
        _publish(output, mixture, facts, tuned[0], base, started)
    logger.info(f"merging: model written to {output}")
    return facts


def _weighed(
    tuned: Sequence[str],
    base: str,
    data: str,
    settings: MergingSettings,
    evaluation: EvaluationSettings | None,
    encoder: EncoderSettings | None,
    scratch: Path,
    *,
    requested: bool,
) -> tuple[Mixture, dict[str, Any]]:
    """The models, and with which weights they are merged; arguments as for `merge`, and a `scratch` folder."""
    searched = (
        SearchData.read(data, settings, evaluation or EvaluationSettings.checked({})) if settings.searches else None
    )
    mixture = Mixture.open(tuned, base if settings.method != "average" else "", scratch)
    facts = mixture.facts() | {"merged": True, "method": settings.method, "settings": settings.model_dump(mode="json")}
    table, weight, reason = [], None, "as set"
    if searched is not None:
        metric = searched.settings.primary_metric
        table = _measured(mixture, searched, settings, encoder or EncoderSettings.checked({}), scratch)
        weight, reason = choose(table, settings, metric, base_will_do=requested)
        facts |= {"metric": metric, "guard": searched.guard.facts}
        facts["notes"] += filter(None, [searched.note, warning(table, weight)])
    facts |= {"searched": table, "weight": weight, "reason": reason}
    for model, coefficient in zip(facts["models"], mixture.coefficients(settings, weight), strict=True):
        model["coefficient"] = coefficient
    return mixture, facts


def _publish(
    output: str, mixture: Mixture | None, facts: dict[str, Any], tuned: str, base: str, started: float
) -> None:
    """Write the folder at `output`: merged as `facts` say, or without a mixture the `tuned` model as it is."""
    summary = {"method": facts["method"], "base_model": base, "weight": facts["weight"]}
    rows = {"weights": sum(map(len, mixture.names.values())) if mixture else 0}
    with storage.publish(output, producer="merging", run_id=facts["run"], rows=rows, facts=summary) as folder:
        if mixture is None:
            unmerged.copy(Source.open(tuned), folder, _NOT_TAKEN)
        else:
            with progress("Merging", rows["weights"], "weights") as reporter:
                mixture.write(folder, [model["coefficient"] for model in facts["models"]], reporter.advance)
        facts["seconds"] = time.monotonic() - started
        (folder / FACTS).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if mixture is not None:
            model_card.write(folder, facts)


def _check(tuned: Sequence[str], settings: MergingSettings, base: str, data: str) -> None:
    faults = []
    if not tuned or (settings.method == "average" and len(tuned) < 2):
        faults.append(f"merging: {settings.method} needs {'two tuned models' if tuned else 'a tuned model'} or more")
    if settings.method == "interpolation" and len(tuned) > 1:
        faults.append("merging.method: interpolation has one tuned model; set average or task_arithmetic")
    if settings.method != "average" and not base:
        faults.append(f"merging: {settings.method} needs the base model that the others were tuned from; name it")
    if settings.weights and len(settings.weights) != len(tuned):
        faults.append(f"merging.weights: {len(settings.weights)} for {len(tuned)} tuned models; give one for each")
    if settings.searches and not data:
        faults.append("merging: to find a weight, name data with dev queries; or set merging.weights")
    if faults:
        raise InputError(faults)


@dataclass(frozen=True)
class Mixture:
    """Models that fit together.

    Attributes:
        base: where it takes part.
        tuned: the others; the first decides how the merged model is used.
        names: a tower or Dense module, by its folder in the first tuned model -> names of its weights.
        weights: the same -> the weight files of base, if there is one, and tuned models.
        notes: sentences for the user.
    """

    base: Source | None
    tuned: list[Source]
    names: Mapping[str, list[str]]
    weights: Mapping[str, list[WeightFiles]]
    notes: list[str]

    @classmethod
    def open(cls, tuned: Sequence[str], base: str, scratch: Path) -> Mixture:
        """Read and check models; `tuned` and `base` as for `merge`, and a `scratch` folder.

        Raises:
            InputError: as `merge`.
        """
        sources = [Source.open(address) for address in tuned]
        start = Source.open(base) if base else None
        notes = check_compatible(start, sources)
        first, everyone = sources[0], [*([start] if start else []), *sources]
        names, weights = {}, {}
        for kind, path in architecture.read_architecture(first.folder).towers.items():
            names[path] = loading.weight_names(first.tower(kind), first.address)
            weights[path] = [one.weights(kind, names[path], scratch) for one in everyone]
            for number, module in enumerate(first.dense_modules(kind)):
                names[module.path] = list(module.shapes)
                folders = [one.folder / one.dense_modules(kind)[number].path for one in everyone]
                weights[module.path] = [
                    WeightFiles.of_folder(one.address, folder) for one, folder in zip(everyone, folders, strict=True)
                ]
        for path, opened in weights.items():
            # what is written is called as in the tuned model
            check_same(names[path], [*opened[-len(sources) :], *opened[: -len(sources)]])
        return cls(start, sources, names, weights, notes)

    def facts(self) -> dict[str, Any]:
        """What is merged."""
        everyone = [*([self.base] if self.base else []), *self.tuned]
        return {
            "models": [one.facts("base" if one is self.base else "tuned") for one in everyone],
            "usages": {one.address: one.usage for one in everyone},
            "notes": list(self.notes),
        }

    def coefficients(self, settings: MergingSettings, weight: float | None = None) -> list[float]:
        """Of base, if there is one, and tuned models.

        Args:
            settings: the method, and its weights.
            weight: the one of all tuned models; None: those of the settings.
        """
        count = len(self.tuned)
        if settings.method == "average":
            given = settings.weights or (1.0,) * count
            return [value / sum(given) for value in given]
        given = settings.weights if weight is None else (weight,) * count
        return [1 - sum(given), *given]

    def model_of(self, coefficients: Sequence[float], folder: Path) -> Path:
        """The folder of a model: that of the first tuned one where it alone counts, else `folder`, which is made."""
        first = 1 if self.base else 0
        if [*coefficients] == [float(number == first) for number in range(len(coefficients))]:
            return self.tuned[0].folder
        folder.mkdir()
        self.write(folder, coefficients)
        return folder

    def write(
        self, folder: Path, coefficients: Sequence[float], advance: Callable[[int], Any] = lambda count: None
    ) -> None:
        """Write a model: the first tuned one's files, other weights.

        Args:
            folder: where to.
            coefficients: as `coefficients` gives them.
            advance: told of each weight that is written.
        """
        first = self.tuned[0]
        for name, path in model_hub.files_of(first.folder).items():
            if path.suffix in _TAKEN and name not in _NOT_TAKEN and not name.endswith(model_check.INDEX):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / name)
        for path, names in self.names.items():
            target = folder / path
            write_merged(target / model_check.WEIGHTS, names, self.weights[path], coefficients, advance)
            _say_float32(target / "config.json")


def _measured(
    mixture: Mixture, searched: SearchData, settings: MergingSettings, encoder: EncoderSettings, scratch: Path
) -> list[dict[str, Any]]:
    """`table_of` all weights that are tried; a merged model lies in `scratch` while it is measured.

    Args:
        mixture: of the models.
        searched: what they are measured on.
        settings, encoder: as for `merge`.
        scratch: a folder.
    """
    figures = {}
    with progress("Trying weights", len(settings.search_weights), "models") as reporter:
        for weight in settings.search_weights:
            # other steps encode base and tuned model too; nobody asks again for vectors of the models between
            computed = encoder if weight in (0, 1) else encoder.model_copy(update={"vector_cache": "off"})
            written = scratch / f"weight-{weight:g}"
            folder = mixture.model_of(mixture.coefficients(settings, weight), written)
            found = figures[weight] = searched.figures(str(folder), computed)
            if folder == written:
                shutil.rmtree(written)
            reporter.advance(1, f"weight {weight:g}: dev {found['dev'].mean():.4f}, guard {found['guard'].mean():.4f}")
    return table_of(figures, searched)


def _say_float32(config: Path) -> None:
    """Name the type of the written weights in a configuration, where it names another."""
    values = json.loads(config.read_text(encoding="utf-8"))
    wrong = [name for name in ("dtype", "torch_dtype") if values.get(name) not in (None, "float32")]
    if wrong:
        values |= dict.fromkeys(wrong, "float32")
        config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
