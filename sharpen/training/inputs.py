"""Reading and checking everything that a training needs before work starts.

The first process of a machine reads the data, numbers the examples and tokenises all texts into the cache, under names
made from content; the others open what it made. So no process but one ever holds the data set, and texts and
token ids are in memory once for all of them, as pages of mapped files.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sharpen.data.dataset import INCONSISTENT_QUERIES, NEGATIVES, OF_PAIRS, TEACHER_SCORES, DataSet, read_table
from sharpen.data.fingerprint import fingerprint as table_fingerprint
from sharpen.data.readers import read_dataset
from sharpen.distributed import ProcessGroup
from sharpen.errors import InputError
from sharpen.losses import LOSSES
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.training.data.build_dataset import check_enough, make_examples
from sharpen.training.data.examples import Examples
from sharpen.training.data.guide import (
    GuideEmbeddings,
    guide_encoder,
    guide_identity,
    write_guide_embeddings,
)
from sharpen.training.data.prepared import prepare, prepared_folder
from sharpen.training.data.tokens import Tokens, tokenizer_facts, write_tokens
from sharpen.training.dev_score import DevSet
from sharpen.training.model import quantized, stored_size
from sharpen.training.model.encoder_setup import check_fits
from sharpen.training.model.sharding import is_sharded
from sharpen.training.processes import local_rank_zero_first
from sharpen.training.settings import TrainingSettings
from sharpen.version import code_version


@dataclass(frozen=True)
class Inputs:
    """Everything that was read and checked before work starts.

    Attributes:
        encoder: the base model.
        examples, tokens: what is trained on.
        dev: what is evaluated on while training, or None.
        guide: the guide model's embeddings, or None.
        data_fingerprint: of the data set that was given.
        negatives_hash: fingerprint of the mined negatives; None without.
        examples_hash: of all that decides the examples.
        settings: of the training, with what the data say of how their sources are trained.
    """

    encoder: Encoder
    examples: Examples
    tokens: Tokens
    dev: DevSet | None
    guide: GuideEmbeddings | None
    data_fingerprint: str
    negatives_hash: str | None
    examples_hash: str
    settings: TrainingSettings


@dataclass(frozen=True)
class _Made:
    """What a machine's first process read and made: fingerprints, the cache keys of the examples and the rest, and the
    settings with what the data say.
    """

    data_fingerprint: str
    negatives_hash: str | None
    examples: str
    tokens: str
    dev: str | None
    guide: str | None
    settings: TrainingSettings


def read_inputs(
    data: str,
    negatives: str | None,
    model: str,
    settings: TrainingSettings,
    encoder_settings: EncoderSettings,
    exchange: ProcessGroup,
) -> Inputs:
    """Read data, negatives and model, and check that they fit each other and the settings.

    Args:
        data, negatives, model: addresses.
        settings, encoder_settings: of the training.
        exchange: the processes; one a machine reads for all of it.

    Raises:
        InputError: they do not, or the machines of the training do not read the same.
    """
    with local_rank_zero_first(exchange) as first:
        # no GPU could hold a model of which each process shall have a shard
        device = "cpu" if is_sharded(settings, exchange) else None
        prepare = None if settings.quantize_base == "none" else quantized.quantize
        encoder = Encoder.load(model, encoder_settings, device=device, training=True, prepare=prepare)
        check_fits(encoder, settings, model)
        if too_long := [dim for dim in settings.matryoshka_dims if dim > encoder.dimension]:
            raise InputError(f"matryoshka_dims: {too_long} but {model} has only {encoder.dimension} dimensions")
        stored_size.check(settings.served_size, encoder.dimension, model)
        local = _make(data, negatives, settings, encoder) if first else None
    made = exchange.broadcast_object(local)
    if made is None or (local is not None and local != made):
        raise InputError(
            "data, negatives, model or code: this machine reads other ones than the first; make them equal"
        )
    examples = Examples.open(prepared_folder(made.examples))
    return Inputs(
        encoder=encoder,
        examples=examples,
        tokens=Tokens(examples, encoder, prepared_folder(made.tokens)),
        dev=None if made.dev is None else DevSet.open(prepared_folder(made.dev)),
        guide=None if made.guide is None else GuideEmbeddings.open(prepared_folder(made.guide)),
        data_fingerprint=made.data_fingerprint,
        negatives_hash=made.negatives_hash,
        examples_hash=hashlib.sha256(made.examples.encode()).hexdigest(),
        settings=made.settings,
    )


def _make(data: str, negatives: str | None, settings: TrainingSettings, encoder: Encoder) -> _Made:
    """Read, check, and keep in the cache what is not there yet."""
    dataset = read_dataset(data)
    fingerprint = dataset.fingerprint()
    trained, mined = dataset, None
    if negatives:
        folder = storage.open_artifact(negatives)
        mined = read_table(folder / "negatives", NEGATIVES)
        trained = without_dropped(with_teacher(dataset, folder), folder)
    negatives_hash = None if mined is None else table_fingerprint({"negatives": mined})
    code = code_version(__name__)
    identity: dict[str, Any] = {
        "code": code,
        "data": fingerprint if trained is dataset else trained.fingerprint(),
        "negatives": negatives_hash,
        "distillation": settings.knowledge_distillation,
        "relevance_level": settings.relevance_level,
    }
    examples = prepare(
        {"of": "examples", **identity}, lambda folder: make_examples(trained, mined, settings).save(folder)
    )
    opened = Examples.open(prepared_folder(examples))
    settings = with_sources(settings, dataset.sources, opened.sources)
    check_enough(opened, settings)
    check_source_names(opened, settings)
    dev = None
    if settings.eval_steps:
        size, seed = settings.eval_corpus_size, settings.seed
        dev = prepare(
            {"of": "dev", "code": code, "data": fingerprint, "corpus": size, "seed": seed},
            lambda folder: DevSet.cut(dataset, size, seed).save(folder),
        )
    tokens = prepare(
        {"of": "tokens", **identity, **tokenizer_facts(encoder)}, lambda folder: write_tokens(opened, encoder, folder)
    )
    guide = None
    if settings.guide_model:
        model = guide_encoder(settings.guide_model, encoder.settings)
        of_guide = {"of": "guide", "model": guide_identity(model), **identity}
        guide = prepare(of_guide, lambda folder: write_guide_embeddings(opened, model, folder))
    return _Made(fingerprint, negatives_hash, examples, tokens, dev, guide, settings)


def with_sources(settings: TrainingSettings, table: pl.DataFrame, names: Sequence[str]) -> TrainingSettings:
    """The settings with the weights and in-batch rules that the data give their sources; what is set comes first.

    Args:
        settings: of the training.
        table: `DataSet.sources`.
        names: of the sources of the training queries.

    Raises:
        InputError: a source has the negatives of its own groups only, and there are none.
    """
    trained = table.filter(pl.col("source").is_in(list(names))).sort("source")
    weights = dict(trained.filter(pl.col("weight") != 1).select("source", "weight").iter_rows())
    alone = trained.filter(pl.col("in_batch") == "own_group")["source"].to_list()
    if not settings.use_inbatch_neg or (settings.loss_name in LOSSES and not LOSSES[settings.loss_name].in_batch):
        alone = []  # there no source has in-batch negatives
    given: dict[str, Any] = {"source_weights": {**weights, **settings.source_weights}}
    given["no_inbatch_sources"] = list(dict.fromkeys([*settings.no_inbatch_sources, *alone]))
    changed = {name: value for name, value in given.items() if value != getattr(settings, name)}
    return TrainingSettings.checked({**settings.model_dump(exclude_unset=True), **changed}) if changed else settings


def check_source_names(examples: Examples, settings: TrainingSettings) -> None:
    """Raise InputError for a name of a source in the settings that none has, or one that contradicts `symmetric`."""
    known = ", ".join(name or "(unnamed)" for name in examples.sources)
    faults = [
        f"{setting}: {name or '(unnamed)'} is no source of the training queries; they are: {known}"
        for setting in ("no_inbatch_sources", "source_weights")
        for name in getattr(settings, setting)
        if name not in examples.sources
    ]
    if settings.symmetric and set(examples.sources) <= set(settings.no_inbatch_sources):
        faults.append("symmetric: no source has in-batch negatives, so there is nothing to contrast a positive with")
    if faults:
        raise InputError(faults)


def with_teacher(data: DataSet, negatives: Path) -> DataSet:
    """The data set with the teacher scores of the negatives' folder, if mining's cross-encoder or teachers gave some.

    They replace those of the data: scores of two teachers for one query are not on the same scale.

    Args:
        data: the data set that was mined.
        negatives: local folder that mining or the teachers wrote.
    """
    if not (negatives / "teacher_scores").is_dir():
        return data
    return dataclasses.replace(data, teacher_scores=read_table(negatives / "teacher_scores", TEACHER_SCORES))


def without_dropped(data: DataSet, negatives: Path) -> DataSet:
    """The data set without the queries that mining dropped as inconsistent (``mining.on_inconsistent: drop``).

    Args:
        data: the data set that was mined.
        negatives: local folder that mining wrote.

    Raises:
        InputError: nothing is left of a source.
    """
    if not (negatives / "inconsistent").is_dir():
        return data
    listed = read_table(negatives / "inconsistent", INCONSISTENT_QUERIES)
    dropped = listed.filter(pl.col("dropped"))["query_id"].implode()
    stays = ~pl.col("query_id").is_in(dropped)
    left = dataclasses.replace(data, **{name: getattr(data, name).filter(stays) for name in ("queries", *OF_PAIRS)})
    gone = set(data.queries_of("train")["source"]) - set(left.queries_of("train")["source"])
    if gone:
        raise InputError(
            [
                f"source {name or '(unnamed)'}: mining dropped all its training queries as inconsistent; mine with "
                "on_inconsistent: report, or take the source out of the data"
                for name in sorted(name or "" for name in gone)
            ]
        )
    return left
