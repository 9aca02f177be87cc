"""The public functions: what the steps of the pipeline do, for Python.

Data, models and results are objects or addresses (a folder, ``s3://``, for a model also a hub id). Settings are those
of the steps, by name; an unknown or impossible one is an `InputError` before any work starts.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from sharpen.errors import InputError
from sharpen.results import Evaluation, FinetunedModel, Index, Negatives, OutputFolder

if TYPE_CHECKING:
    import numpy as np
    import torch

    from sharpen.data.dataset import DataSet
    from sharpen.data.text_type import TextType
    from sharpen.index.search import Hit
    from sharpen.losses import Loss
    from sharpen.models.bi_encoder import BiEncoderModel
    from sharpen.models.encoder import Encoder
    from sharpen.settings import EncoderSettings, SettingsModel

    Settings = TypeVar("Settings", bound=SettingsModel)

Address: TypeAlias = "str | Path"
Data: TypeAlias = "Address | DataSet"
Model: TypeAlias = "Address | FinetunedModel | Encoder | BiEncoderModel"


def load_dataset(
    train_data: Address | Sequence[Address],
    *,
    eval_data: Address | Sequence[Address] = (),
    output: Address | None = None,
    **settings: Any,
) -> DataSet:
    """Read, check, de-duplicate and split retrieval data; a finished data set is read as it is.

    Args:
        train_data: FlagEmbedding rows, CSV, a BEIR folder or a finished data set; several are merged.
        eval_data: data whose queries become the test (and dev) queries; empty: a share of the training queries does.
        output: keep the finished data set here too.
        settings: of `DataSettings`, such as ``test_share``.

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
    from sharpen.store import storage

    (checked,) = _checked(settings, DataSettings)
    train, evaluation = _addresses(train_data), _addresses(eval_data)
    if len(train) == 1 and not evaluation and not settings and output is None and storage.is_complete(train[0]):
        return DataSet.open(train[0])
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

    mining, encoder = _checked(settings, MiningSettings, EncoderSettings)
    read, miner, folder = _data_folder(data), _model_folder(model), OutputFolder(output, "negatives")
    mine(read.address, miner.address, folder.address, mining, _encoder_settings(model, encoder))
    local = storage.open_artifact(folder.address)
    report = storage.read_json(storage.join(folder.address, REPORT))
    return Negatives(folder.address, (folder,), read_table(local / TABLE, NEGATIVES), report)


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
    training, encoder = _checked(settings, TrainingSettings, EncoderSettings)
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if not alone and (output is None or not all(isinstance(given, str | Path) for given in (model, data))):
        raise InputError("finetune: on several processes name model, data and output by address, equal in all of them")
    read, base, folder = _data_folder(data), _model_folder(model), OutputFolder(output, "model")
    mined = negatives.folder if isinstance(negatives, Negatives) else negatives and str(negatives)
    encoding = _encoder_settings(model, encoder)
    facts = train(read.address, mined or None, base.address, folder.address, training, encoding, loss=loss)
    return FinetunedModel(folder.address, (folder,), facts)


def evaluate(
    model: Model,
    data: Data,
    *,
    split: str = "test",
    base: Evaluation | Address | None = None,
    champion: Evaluation | Address | None = None,
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
        negatives: whose mining figures the report shows.
        output: folder to write; None: a temporary one that lives as long as the result.
        settings: of `EvaluationSettings` and `EncoderSettings`, such as ``cutoffs`` or ``relevance_level``.

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

    evaluation, encoder = _checked(settings, EvaluationSettings, EncoderSettings)
    read, measured, folder = _data_folder(data), _model_folder(model), OutputFolder(output, "evaluation")
    references = {"base": _result_address(base), "champion": _result_address(champion)}
    context = {"negatives": _result_address(negatives)}
    measure(
        *(measured.address, read.address, split, folder.address, evaluation, _own_settings(model, encoder)),
        references=references,
        context=context,
    )
    made = artifact.EvaluationArtifact.open(folder.address)
    compared = storage.join(folder.address, artifact.COMPARISON)
    comparison = storage.read_json(compared) if any(references.values()) else {}
    page = storage.join(folder.address, artifact.REPORT)
    return Evaluation(folder.address, (folder,), made.metrics, made.per_query, comparison, made.facts, page)


def load_model(model: Address, *, device: str | torch.device | None = None, **settings: Any) -> Encoder:
    """The model at an address, used as its own folder says; safetensors only, no code from it is run.

    Args:
        model: folder, ``s3://`` address or hub id.
        device: where it runs; a GPU if there is one, by default.
        settings: of `EncoderSettings`, which come before the folder's own.

    Raises:
        InputError: there is no such model, it cannot be read safely, or an unknown setting.

    Example:
        ```python
        encoder = sharpen.load_model("BAAI/bge-small-en-v1.5", query_max_len=32)
        sharpen.embed(["how far is the moon?"], encoder, kind="query")
        ```
    """
    from sharpen.models import model_config
    from sharpen.models.encoder import Encoder
    from sharpen.settings import EncoderSettings

    (checked,) = _checked(settings, EncoderSettings)
    return Encoder.load(str(model), model_config.resolve(str(model), checked).settings, device=device)


def embed(
    texts: Sequence[str],
    model: Model,
    *,
    kind: TextType = "passage",
    instructions: Sequence[str | None] | None = None,
    **settings: Any,
) -> np.ndarray:
    """Embeddings (n, d, float32) of n texts, in their order; of many texts kept in the vector cache.

    Args:
        texts: what to embed.
        model: an encoder that is used again should be loaded once, by `load_model`.
        kind: ``query`` or ``passage``, which decides prompt and longest length.
        instructions: for each query one of its own; None has the model's prompt.
        settings: of `EncoderSettings`, where the model is an address.

    Raises:
        InputError: no such model, an unknown setting, or an unusable cache.

    Example:
        ```python
        vectors = sharpen.embed(["a text", "another"], "BAAI/bge-small-en-v1.5")
        vectors @ vectors.T
        ```
    """
    from sharpen.embeddings import embed_texts

    if kind not in ("query", "passage"):
        raise InputError(f"kind: must be query or passage, not {kind!r}")
    if isinstance(model, str | Path):
        encoder = load_model(model, **settings)
    elif settings:
        raise InputError(f"{min(settings)}: a loaded model has its settings; load it again with others")
    else:
        encoder = _encoder(model)
    return embed_texts(encoder, texts, kind, instructions)


def build_index(data: Data, model: Model, *, output: Address | None = None, **settings: Any) -> Index:
    """Embed a corpus and make it searchable.

    Args:
        data: a data set, its address, or that of a ``corpus.jsonl``.
        model: embeds the passages now, and queries later.
        output: folder to write; None: a temporary one that lives as long as the result.
        settings: of `IndexSettings` and `EncoderSettings`, such as ``vector_precision``.

    Raises:
        InputError: no such data or model, no passage, or settings that do not fit.

    Example:
        ```python
        index = sharpen.build_index(data, model, vector_precision="int8")
        sharpen.search(index, "how far is the moon?")
        ```
    """
    from sharpen.index import manifest
    from sharpen.index.build import index
    from sharpen.index.settings import IndexSettings
    from sharpen.settings import EncoderSettings
    from sharpen.store import storage

    indexing, encoder = _checked(settings, IndexSettings, EncoderSettings)
    read, base, folder = _data_folder(data), _model_folder(model), OutputFolder(output, "index")
    index(read.address, base.address, folder.address, indexing, _own_settings(model, encoder))
    made = storage.read_json(storage.join(folder.address, manifest.NAME))
    dimension = made["embeddings"]["dimension"]
    return Index(folder.address, (folder, base), base.address, made["passages"], dimension, made["quality"])


def search(index: Index | Address, query: str, *, top_k: int = 10, model: Address = "", prompt: str = "") -> list[Hit]:
    """The best passages for a query, best first.

    Args:
        index: what `build_index` made, or the address of such a folder, whose model is loaded for this call.
        query: what to look for.
        top_k: most hits.
        model: with an address: where the index's model is now; empty: where it was.
        prompt: with an address: name of the model's prompt for queries; empty: its default.

    Raises:
        InputError: no such index, another model than the one that made it, or an empty query.

    Example:
        ```python
        for hit in sharpen.search(index, "how far is the moon?", top_k=3):
            print(hit.score, hit.text)
        ```
    """
    from sharpen.index.search import OpenIndex

    if top_k < 1:
        raise InputError(f"top_k: must be at least 1, not {top_k}")
    if isinstance(index, Index):
        if model or prompt:
            raise InputError("model and prompt go with an index's address; this index has its model")
        return index.opened.ask(query, top_k).hits
    return OpenIndex(str(index), str(model), prompt).ask(query, top_k).hits


def _checked(values: dict[str, Any], *models: type[SettingsModel]) -> list[Any]:
    """One checked object of each model, from keywords that belong to any of them; all faults at once."""
    known = {name for model in models for name in model.model_fields}
    faults = []
    for name in sorted(values.keys() - known):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
        faults.append(f"{name}: unknown setting; {hint}")
    checked = []
    for model in models:
        try:
            checked.append(model.checked({name: values[name] for name in values.keys() & model.model_fields.keys()}))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    return checked


def _addresses(given: Address | Sequence[Address]) -> list[str]:
    """The addresses that were given: several may be separated by commas, as on the command line."""
    from sharpen.uri import split_addresses

    if isinstance(given, str):
        return split_addresses(given)
    return [str(given)] if isinstance(given, Path) else [str(address) for address in given]


def _data_folder(data: Data) -> OutputFolder:
    """Where the data are; a data set in memory is written first, as it is now."""
    from sharpen.data.dataset import DataSet
    from sharpen.store import storage

    if not isinstance(data, DataSet):
        return OutputFolder(data, "data")
    folder = OutputFolder(None, "data")
    with storage.publish(folder.address, producer="data_prep", rows=data.counts()) as local:
        data.save(local)
    return folder


def _model_folder(model: Model) -> OutputFolder:
    """Where the model is; a loaded one is written first, as it is now."""
    if isinstance(model, str | Path):
        return OutputFolder(model, "model")
    if isinstance(model, FinetunedModel):
        return model._held[0]
    folder = OutputFolder(None, "model")
    _encoder(model).save(Path(folder.address))
    return folder


def _encoder(model: FinetunedModel | Encoder | BiEncoderModel) -> Encoder:
    return getattr(model, "encoder", model)  # type: ignore[return-value]


def _encoder_settings(model: Model, given: EncoderSettings) -> EncoderSettings:
    """How a model is mined with and trained: a loaded one as it is used so far, but for what is set."""
    from sharpen.models import model_config

    if isinstance(model, str | Path):
        return given
    if isinstance(model, FinetunedModel):
        return model_config.resolve(model.folder, given).settings
    settings = _encoder(model).settings
    return settings.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})


def _own_settings(model: Model, given: EncoderSettings) -> EncoderSettings:
    """How a model computes that is used as its folder says: a loaded one as so far, but for what is set."""
    from sharpen.models import model_config

    if isinstance(model, str | Path | FinetunedModel):
        return given
    settings = model_config.computing_part(_encoder(model).settings)
    wishes = {name: getattr(given, name) for name in given.model_fields_set}
    return type(given).checked(settings.model_dump(exclude_unset=True) | wishes)


def _result_address(result: Evaluation | Negatives | Address | None) -> str:
    """The address of a result; empty for none."""
    if result is None:
        return ""
    return str(result) if isinstance(result, str | Path) else result.folder
