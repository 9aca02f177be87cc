"""What the functions of `sharpen.api` return."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from sharpen.data.dataset import DataSet
    from sharpen.index.search import OpenIndex
    from sharpen.models.encoder import Encoder


class OutputFolder:
    """Where a function writes: the address that the user named, or a temporary folder that goes with this object.

    Args:
        address: a folder or ``s3://`` address; None: a temporary folder.
        name: of the folder within the temporary one.
    """

    def __init__(self, address: str | Path | None, name: str) -> None:
        self.temporary = address is None
        self.address = str(address) if address is not None else str(Path(tempfile.mkdtemp(prefix="sharpen-")) / name)
        if address is None:
            weakref.finalize(self, shutil.rmtree, Path(self.address).parent, ignore_errors=True)


@dataclass(frozen=True)
class Result:
    """A finished folder. A temporary one lives as long as its result.

    Attributes:
        folder: its address.
    """

    folder: str
    _held: tuple[OutputFolder, ...] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Negatives(Result):
    """Mined hard negatives.

    Attributes:
        table: query_id, passage_id, rank, score, positive_score, teacher_score, picked_by, source.
        report: what was mined and left out, and why (report.json).
    """

    table: pl.DataFrame = field(repr=False)
    report: dict[str, Any] = field(repr=False)

    def __len__(self) -> int:
        return self.table.height


@dataclass(frozen=True)
class GeneratedQueries(Result):
    """Queries that a language model wrote, with their passages.

    Attributes:
        data: the data set; all queries are of train.
        report: what was written and left out, and why, and what it cost (report.json).
    """

    data: DataSet = field(repr=False)
    report: dict[str, Any] = field(repr=False)

    def __len__(self) -> int:
        return self.data.queries.height


@dataclass(frozen=True)
class FinetunedModel(Result):
    """A trained model; every function of the API that takes a model takes it.

    Attributes:
        training: data, settings, steps, losses and speed (training.json).
    """

    training: dict[str, Any] = field(repr=False)

    @cached_property
    def encoder(self) -> Encoder:
        """The model, loaded on first use."""
        from sharpen.models import model_config
        from sharpen.models.encoder import Encoder
        from sharpen.settings import EncoderSettings

        return Encoder.load(self.folder, model_config.resolve(self.folder, EncoderSettings.checked({})).settings)


@dataclass(frozen=True)
class TuningResult(Result):
    """What a search found.

    Attributes:
        best: the searched settings of the best trial, by groups: ``{"training": {"learning_rate": ...}}``.
        score: its nDCG@10 on dev, which is too high on average, since it is the best of several.
        trials: of each its number, its values by full name, and what came of it.
        report: address of the page.
    """

    best: dict[str, dict[str, Any]]
    score: float
    trials: list[dict[str, Any]] = field(repr=False)
    report: str


@dataclass(frozen=True)
class PretrainedModel(FinetunedModel):
    """A model to start fine-tuning from; ``training`` is its pretraining.json."""


@dataclass(frozen=True)
class MergedModel(FinetunedModel):
    """A model whose weights are a sum of those of others; ``training`` is its merging.json."""


@dataclass(frozen=True)
class Evaluation(Result):
    """How good a model is on a split.

    Attributes:
        metrics: such as ``ndcg_at_10`` -> mean over the queries.
        per_query: query_id, group, and a column for each metric.
        comparison: differences to the references, with intervals and tests (comparison.json); empty without any.
        facts: model, data, protocol and versions (facts.json).
        report: address of the page for people.
    """

    metrics: dict[str, float]
    per_query: pl.DataFrame = field(repr=False)
    comparison: dict[str, Any] = field(repr=False)
    facts: dict[str, Any] = field(repr=False)
    report: str


@dataclass(frozen=True)
class Index(Result):
    """A searchable corpus.

    Attributes:
        model: address of the model that embeds queries.
        passages: how many.
        dimension: of the stored vectors.
        quality: what storage and approximate search lose (recall); None where it was not measured.
    """

    model: str
    passages: int
    dimension: int
    quality: dict[str, Any] | None = field(repr=False)

    @cached_property
    def opened(self) -> OpenIndex:
        """The index with its model, loaded on first use."""
        from sharpen.index.search import OpenIndex

        return OpenIndex(self.folder, self.model)
