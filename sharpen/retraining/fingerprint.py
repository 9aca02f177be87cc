"""What stands behind the addresses of a run, as one hash: while it is the same, a step's cached result is right."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sharpen.data.readers.content import content_of, content_of_files, digest_rows, manifest_rows
from sharpen.data.source_settings import Given, parse_sources
from sharpen.errors import InputError
from sharpen.models import model_hub
from sharpen.store import storage
from sharpen.store.local_store import sha256_of
from sharpen.typed_json import sha256_json
from sharpen.version import code_version

FILE, DATA, MODEL = "file:", "data:", "model:"
# The code that the result of each cached step comes from, by the group of the step's settings.
STEP_MODULES = {
    "generation": ("components.query_generation.step", "sharpen.generation.generate"),
    "data": ("components.data_prep.step", "sharpen.data.preparation.prepare", "sharpen.retraining.change_detection"),
    "pretraining": ("components.pretraining.launch", "sharpen.pretraining.pretrain"),
    "mining": ("components.hard_negatives.step", "sharpen.mining.mine"),
    "teachers": ("components.teachers.step", "sharpen.teachers.score"),
    "training": ("components.finetuning.launch", "sharpen.training.train"),
    "merging": ("components.merging.step", "sharpen.merging.merge"),
    "evaluation": ("components.evaluation.step", "sharpen.evaluation.evaluate"),
    "indexing": ("components.indexing.step", "sharpen.index.build"),
}

# Inputs that what is trained does not depend on, or that count only where there are any.
_LATER = ("corpus", "evaluation", "documents", "merging", "teachers")


@dataclass(frozen=True)
class InputFingerprints:
    """What stands behind the addresses of a run, each as a text that is equal for equal content.

    Attributes:
        train, eval: data of the two roles.
        base_model: the model that results are compared with.
        start_model: the model that training starts from, where it is another; else empty.
        mining: other models, and files, that mining reads.
        corpus: passages beside those of the sources.
        evaluation: other models and data that evaluation reads.
        documents: what queries are written for, and examples of queries.
        merging: other models that the tuned one is merged with.
        teachers: models that score positives and negatives.
    """

    train: str
    eval: str
    base_model: str
    start_model: str
    mining: str
    corpus: str = "[]"
    evaluation: str = "[]"
    documents: str = "[]"
    merging: str = "[]"
    teachers: str = "[]"

    @property
    def sources(self) -> str:
        """SHA-256 (hex) of the data of both roles."""
        return sha256_json([self.train, self.eval, *self._further])

    @property
    def _further(self) -> list[str]:
        """Corpus and documents; nothing where there are none, so that runs without them are what they were."""
        return [part for part in (self.corpus, self.documents) if part != "[]"]

    def fingerprint(self, code: str) -> str:
        """SHA-256 (hex) of all that a model comes from, and of the code's version."""
        others = [value for name, value in asdict(self).items() if name not in _LATER]
        return sha256_json([*others, *self._further, code])

    def of_steps(self) -> dict[str, str]:
        """`fingerprint` with the code of each step alone: a change in one step's leaves the others' cached results.

        Prepared data depend on no model, so that of ``data`` leaves the models out.
        """
        codes = {step: code_version(*modules) for step, modules in STEP_MODULES.items()}
        found = {step: self.fingerprint(code) for step, code in codes.items()}
        found["evaluation"] = sha256_json([found["evaluation"], self.evaluation])
        found["merging"] = sha256_json([found["merging"], self.evaluation, self.merging])
        found["teachers"] = sha256_json([found["teachers"], self.teachers])
        return found | {"data": sha256_json([self.sources, codes["data"]])}

    def identity(self, settings_hash: str, optional: Collection[str] = ()) -> dict[str, str]:
        """`TrainingInputs.identity`: what makes a run worth repeating on the same data.

        The model that training starts from is none of it: a champion that comes of these data makes them no newer. Of
        the code it is what a champion and its figures come from: another registry, job or index is no reason.

        Args:
            settings_hash: of what decides the result.
            optional: names of the steps that only some graphs have and this one has.
        """
        without = {"indexing", *({"generation", "merging", "pretraining", "teachers"} - set(optional))}
        decisive = [module for step, modules in STEP_MODULES.items() if step not in without for module in modules]
        return {
            "settings": settings_hash,
            "code": code_version(*decisive),
            "base_model": sha256_json(self.base_model),
            "mining": sha256_json(self.mining),
            **{name: sha256_json(getattr(self, name)) for name in ("merging", "teachers") if name in optional},
        }


def fingerprint_inputs(
    train_data: str | Sequence[Given],
    eval_data: str | Sequence[Given],
    base_model: str,
    mined_with: Sequence[str] = (),
    start_model: str = "",
    corpus: str = "",
    evaluated_with: Sequence[str] = (),
    judgements: str = "",
    generated_from: Sequence[str] = (),
    merged_with: Sequence[str] = (),
    taught_by: Sequence[str] = (),
) -> InputFingerprints:
    """Find out what stands behind the addresses of a run, whatever their order.

    Local files count by name below their folder and content, remote ones (never downloaded) by name, size and ETag,
    code by content and interpreter, a model of the hub by id and revision.

    Args:
        train_data, eval_data: sources as `parse_sources` takes them; the latter may be empty.
        base_model, start_model: what `Encoder.load` takes; of where training starts, empty: the base model.
        mined_with: other models that mining uses, and after ``file:`` the files that it reads.
        corpus, judgements: addresses of more passages, and of judgements merged into the data; empty: there are none.
        evaluated_with: other models that evaluation measures or uses, and after ``data:`` the data.
        merged_with, taught_by: models that the tuned one is merged with, and that score positives and negatives.
        generated_from: documents for queries, and what else writing them takes; then there may be no training data.

    Raises:
        InputError: something is missing, empty or of no known kind, no access, store unreachable; all faults at once.
    """
    faults: list[str] = []
    trained = parse_sources(train_data, "train_data")
    if not trained and not generated_from:
        faults.append("train_data: no address given; name a file, a folder or python-source:stdlib")

    def known(role: str, named: Sequence[Any], content: Callable[[Any], list[object]]) -> str:
        parts = []
        for one in named:
            try:
                parts.append(json.dumps(content(one)))
            except InputError as error:
                faults.extend(f"{role}: {line}" for line in error.faults)
        return json.dumps(sorted(parts))

    found = InputFingerprints(
        train=known("train_data", trained, content_of),
        eval=known("eval_data", parse_sources(eval_data, "eval_data"), content_of)
        + (known("data.judgements", [judgements], content_of_files) if judgements else ""),
        corpus=known("data.corpus", [corpus] if corpus else [], content_of_files),
        documents=known("generation", generated_from, _documents),
        base_model=known("base_model", [base_model], _model),
        start_model=known("start model", [start_model] if start_model not in ("", base_model) else [], _model),
        mining=known("mining", mined_with, _model_or_file),
        evaluation=known("evaluation", evaluated_with, _model_or_data),
        merging=known("merging.models", merged_with, _model),
        teachers=known("teachers", taught_by, _model),
    )
    if faults:
        raise InputError(faults)
    return found


def _documents(address: str) -> list[object]:
    if address.startswith(MODEL):
        return _model(address.removeprefix(MODEL))
    return content_of(address) if address.startswith("python-source:") else content_of_files(address)


def _model_or_file(address: str) -> list[object]:
    named = address.removeprefix(FILE)
    return content_of_files(named) if named != address else _model(address)


def _model_or_data(address: str) -> list[object]:
    named = address.removeprefix(DATA)
    if named == address:
        return _model(address)
    return [part for source in parse_sources(named, "evaluation.guard_data") for part in content_of(source)]


def _model(model: str) -> list[object]:
    if not model:
        raise InputError("no model given; name a folder, an s3:// address or a hub id")
    if storage.is_remote(model):
        if storage.is_complete(model):
            return [digest_rows(manifest_rows(model))]
        files = storage.list_files(model)
        names = {file.name for file in files}
        if not files:
            raise InputError(f"{model}: no such folder in the object store")
        model_hub.validate_model_files(model, names)
        return [digest_rows((file.name, file.size, file.etag) for file in files)]
    if model_hub.is_hub_id(model):
        return [f"hub:{model}@{_hub_revision(model)}"]
    folder = model_hub.resolve_model(model)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return [digest_rows((path.relative_to(folder).as_posix(), sha256_of(path)) for path in paths)]


def _hub_revision(model: str) -> str:
    """The commit that a hub id means now. Raises InputError: no such model, or the hub cannot be reached."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(model, "config.json")).parent.name
    except Exception as error:  # the hub client has a dozen classes for "not found" and "no network"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{model}: neither a folder here nor a model that the hub gives ({reason})") from error
