"""The public functions that make a model better: data, negatives, fine-tuning, evaluation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpen.api.inputs import (
    Address,
    Data,
    Model,
    checked_settings,
    data_folder,
    inference_settings,
    is_finished,
    model_folder,
    result_address,
    sources,
    training_settings,
)
from sharpen.api.results import Evaluation, FinetunedModel, Negatives, OutputFolder, PretrainedModel
from sharpen.errors import InputError

if TYPE_CHECKING:
    from sharpen.data.dataset import DataSet
    from sharpen.data.source_settings import Given
    from sharpen.losses import Loss


def load_dataset(
    train_data: Given | Sequence[Given],
    *,
    eval_data: Given | Sequence[Given] = (),
    output: Address | None = None,
    **settings: Any,
) -> DataSet:
    """Read, check, de-duplicate and split retrieval data; a finished data set is read as it is.

    Args:
        train_data: files of rows, a BEIR folder, ``hf://`` id or finished data set; several are merged. Each may be an
            object with settings of a source, such as ``{"address": "clicks.parquet", "weight": 2}``.
        eval_data: data whose queries become the test (and dev) queries; empty: a share of the training queries does.
        output: keep the finished data set here too.
        settings: of `DataSettings`, such as ``test_share``, or ``corpus`` for more passages than those of the rows.

    Raises:
        InputError: unusable data, too many bad rows, or an unknown setting.

    Example:
        ```python
        data = sharpen.load_dataset("train.jsonl", test_share=0.2)
        data.queries_of("test")
        ```
    """
    from sharpen.data.dataset import DataSet
    from sharpen.data.preparation.prepare import prepare
    from sharpen.data.preparation.settings import DataSettings

    (checked,) = checked_settings(settings, DataSettings)
    train, evaluation = sources(train_data, "train_data"), sources(eval_data, "eval_data")
    alone = len(train) == 1 and train[0].is_plain and not evaluation and not settings and output is None
    if alone and is_finished(train[0].address):
        return DataSet.open(train[0].address)
    folder = OutputFolder(output, "data")
    prepare(train, evaluation, folder.address, checked)
    return DataSet.open(folder.address)


def mine_hard_negatives(data: Data, model: Model, *, output: Address | None = None, **settings: Any) -> Negatives:
    """Find, for each training query, passages that a model ranks high and that are no positives.

    Args:
        data: a data set, or its address.
        model: scores the passages.
        output: folder to write; None: a temporary one that lives as long as the result.
        settings: of `MiningSettings` and `EncoderSettings`, such as ``negative_number`` or ``passage_max_len``.

    Raises:
        InputError: no such data or model, an unknown setting, or rules under which no passage is a negative.

    Example:
        ```python
        negatives = sharpen.mine_hard_negatives(data, "BAAI/bge-small-en-v1.5", relative_margin=0.05)
        negatives.table.head()
        ```
    """
    from sharpen.data.dataset import NEGATIVES, read_table
    from sharpen.mining.mine import mine
    from sharpen.mining.output import REPORT, TABLE
    from sharpen.mining.settings import MiningSettings
    from sharpen.settings import EncoderSettings
    from sharpen.store import storage

    mining, encoder = checked_settings(settings, MiningSettings, EncoderSettings)
    read, miner, folder = data_folder(data), model_folder(model), OutputFolder(output, "negatives")
    mine(read.address, miner.address, folder.address, mining, training_settings(model, encoder))
    local = storage.open_artifact(folder.address)
    report = storage.read_json(storage.join(folder.address, REPORT))
    return Negatives(folder.address, (folder,), read_table(local / TABLE, NEGATIVES), report)


def pretrain(model: Model, data: Data, *, output: Address | None = None, **settings: Any) -> PretrainedModel:
    """Train a text encoder further on the passages of a corpus, by RetroMAE or masked-language modelling.

    Args:
        model: to start from; it is not changed.
        data: a data set, or the address of one or of passages alone.
        output: folder of the new model; None: a temporary one that lives as long as the result.
        settings: of `PretrainingSettings` and `EncoderSettings`, such as ``method`` or ``max_seq_length``.

    Raises:
        InputError: data, model or output cannot be used, or an unknown setting.
        StepFailed: the loss became infinite or NaN.

    Example:
        ```python
        start = sharpen.pretrain("BAAI/bge-small-en-v1.5", data)
        model = sharpen.finetune(start, data, negatives)
        ```
    """
    from sharpen.pretraining.pretrain import pretrain
    from sharpen.pretraining.settings import PretrainingSettings
    from sharpen.settings import EncoderSettings

    pretraining, encoder = checked_settings(settings, PretrainingSettings, EncoderSettings)
    read, base, folder = data_folder(data), model_folder(model), OutputFolder(output, "model")
    facts = pretrain(read.address, base.address, folder.address, pretraining, encoder)
    return PretrainedModel(folder.address, (folder,), facts)


def finetune(
    model: Model,
    data: Data,
    negatives: Negatives | Address | None = None,
    *,
    output: Address | None = None,
    loss: Loss | str | None = None,
    **settings: Any,
) -> FinetunedModel:
    """Fine-tune a text-embedding model for retrieval, in this process or in each that torchrun started.

    Args:
        model: to start from; it is not changed.
        data: a data set, or its address.
        negatives: mined ones; None: those that the data bring, else random passages.
        output: folder of the new model; None: a temporary one that lives as long as the result.
        loss: an object of a class of yours (`sharpen.losses.base`), or a name as in the setting `loss`.
        settings: of `TrainingSettings` and `EncoderSettings`, such as ``temperature`` or ``num_train_epochs``.

    Raises:
        InputError: data, model, negatives or output cannot be used, or an unknown setting.
        StepFailed: the loss became infinite or NaN.

    Example:
        ```python
        model = sharpen.finetune("BAAI/bge-small-en-v1.5", data, negatives, temperature=0.02)
        sharpen.evaluate(model, data).metrics
        ```
    """
    from sharpen.settings import EncoderSettings
    from sharpen.training.settings import TrainingSettings
    from sharpen.training.train import train

    if isinstance(loss, str):
        settings["loss"], loss = loss, None
    training, encoder = checked_settings(settings, TrainingSettings, EncoderSettings)
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if not alone and not all(
        isinstance(given, str | Path) for given in (model, data, output, "" if negatives is None else negatives)
    ):
        raise InputError(
            "finetune: on several processes name model, data, negatives and output by address, equal in all of them"
        )
    read, base, folder = data_folder(data), model_folder(model), OutputFolder(output, "model")
    mined = result_address(negatives) or None
    encoding = training_settings(model, encoder)
    facts = train(read.address, mined, base.address, folder.address, training, encoding, loss=loss)
    return FinetunedModel(folder.address, (folder,), facts)


def evaluate(
    model: Model,
    data: Data,
    *,
    split: str = "test",
    base: Evaluation | Address | None = None,
    champion: Evaluation | Address | None = None,
    references: Mapping[str, Evaluation | Address] | None = None,
    negatives: Negatives | Address | None = None,
    output: Address | None = None,
    **settings: Any,
) -> Evaluation:
    """Search the whole corpus with the queries of a split, and measure what is found.

    Args:
        model: is used as its own folder says; what is set here comes first.
        data: a data set, or its address.
        split: ``train``, ``dev`` or ``test``.
        base: evaluation of the same queries to compare with, usually by the base model.
        champion: another such evaluation, by the model in use.
        references: any other evaluations of the same queries, by name.
        negatives: whose mining figures the report shows.
        output: folder to write; None: a temporary one that lives as long as the result.
        settings: of `EvaluationSettings` and `EncoderSettings`, such as ``cutoffs``, or ``systems`` to compare with.

    Raises:
        InputError: no such data, split, model or reference, or an unknown setting.
        StepFailed: the model gives embeddings that are not numbers.

    Example:
        ```python
        before, after = sharpen.evaluate("base", data), sharpen.evaluate(model, data)
        after.metrics["ndcg_at_10"] - before.metrics["ndcg_at_10"]
        ```
    """
    from sharpen.evaluation import artifact
    from sharpen.evaluation.evaluate import evaluate as measure
    from sharpen.evaluation.settings import EvaluationSettings
    from sharpen.settings import EncoderSettings
    from sharpen.store import storage

    evaluation, encoder = checked_settings(settings, EvaluationSettings, EncoderSettings)
    read, measured, folder = data_folder(data), model_folder(model), OutputFolder(output, "evaluation")
    named = {"base": base, "champion": champion, **(references or {})}
    context = {"negatives": result_address(negatives)}
    measure(
        *(measured.address, read.address, split, folder.address, evaluation, inference_settings(model, encoder)),
        references={name: result_address(one) for name, one in named.items()},
        context=context,
    )
    made = artifact.EvaluationArtifact.open(folder.address)
    compared = storage.join(folder.address, artifact.COMPARISON)
    comparison = storage.read_json(compared) if storage.exists(compared) else {}
    page = storage.join(folder.address, artifact.REPORT)
    return Evaluation(folder.address, (folder,), made.metrics, made.per_query, comparison, made.facts, page)
