"""Make a text-embedding model better at retrieval on your own data.

Everything below is imported when it is first used, so that `import sharpen` is quick.

Example:
    data = sharpen.load_dataset("train.jsonl")
    negatives = sharpen.mine_hard_negatives(data, model=base)
    model = sharpen.finetune(base, data, negatives, temperature=0.02)
    sharpen.evaluate(model, data).metrics["ndcg_at_10"]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sharpen.api.comparison import compare
    from sharpen.api.diagnosis import explain
    from sharpen.api.generation import generate_queries
    from sharpen.api.merging import merge_models
    from sharpen.api.results import (
        Evaluation,
        FinetunedModel,
        GeneratedQueries,
        Index,
        MergedModel,
        Negatives,
        PretrainedModel,
        TuningResult,
    )
    from sharpen.api.search import build_index, embed, load_model, search
    from sharpen.api.teachers import score_by_teachers
    from sharpen.api.training import evaluate, finetune, load_dataset, mine_hard_negatives, pretrain
    from sharpen.api.tuning import tune
    from sharpen.console import enable_logging
    from sharpen.data.dataset import DataSet
    from sharpen.data.preparation.settings import DataSettings
    from sharpen.errors import InputError, SharpenError, StepFailed
    from sharpen.evaluation.settings import EvaluationSettings
    from sharpen.generation.settings import GenerationSettings
    from sharpen.index.settings import IndexSettings
    from sharpen.merging.settings import MergingSettings
    from sharpen.mining.settings import MiningSettings
    from sharpen.models.bi_encoder import BiEncoderModel
    from sharpen.models.encoder import Encoder
    from sharpen.pretraining.settings import PretrainingSettings
    from sharpen.settings import EncoderSettings
    from sharpen.teachers.settings import TeacherSettings
    from sharpen.training.flagembedding.arguments import (
        AbsEmbedderDataArguments,
        AbsEmbedderModelArguments,
        AbsEmbedderTrainingArguments,
        DataArguments,
        ModelArguments,
        TrainingArguments,
    )
    from sharpen.training.settings import TrainingSettings
    from sharpen.tuning.settings import TuningSettings

_MODULES = {
    "sharpen.api.comparison": ("compare",),
    "sharpen.api.diagnosis": ("explain",),
    "sharpen.api.generation": ("generate_queries",),
    "sharpen.api.merging": ("merge_models",),
    "sharpen.api.search": ("build_index", "embed", "load_model", "search"),
    "sharpen.api.teachers": ("score_by_teachers",),
    "sharpen.api.training": ("evaluate", "finetune", "load_dataset", "mine_hard_negatives", "pretrain"),
    "sharpen.api.tuning": ("tune",),
    "sharpen.console": ("enable_logging",),
    "sharpen.data.dataset": ("DataSet",),
    "sharpen.data.preparation.settings": ("DataSettings",),
    "sharpen.errors": ("InputError", "SharpenError", "StepFailed"),
    "sharpen.evaluation.settings": ("EvaluationSettings",),
    "sharpen.generation.settings": ("GenerationSettings",),
    "sharpen.index.settings": ("IndexSettings",),
    "sharpen.merging.settings": ("MergingSettings",),
    "sharpen.mining.settings": ("MiningSettings",),
    "sharpen.pretraining.settings": ("PretrainingSettings",),
    "sharpen.models.bi_encoder": ("BiEncoderModel",),
    "sharpen.models.encoder": ("Encoder",),
    "sharpen.api.results": (
        "Evaluation",
        "FinetunedModel",
        "GeneratedQueries",
        "Index",
        "MergedModel",
        "Negatives",
        "PretrainedModel",
        "TuningResult",
    ),
    "sharpen.settings": ("EncoderSettings",),
    "sharpen.teachers.settings": ("TeacherSettings",),
    "sharpen.training.flagembedding.arguments": (
        *("AbsEmbedderDataArguments", "AbsEmbedderModelArguments", "AbsEmbedderTrainingArguments"),
        *("DataArguments", "ModelArguments", "TrainingArguments"),
    ),
    "sharpen.training.settings": ("TrainingSettings",),
    "sharpen.tuning.settings": ("TuningSettings",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AbsEmbedderDataArguments",
    "AbsEmbedderModelArguments",
    "AbsEmbedderTrainingArguments",
    "BiEncoderModel",
    "DataArguments",
    "DataSet",
    "DataSettings",
    "Encoder",
    "EncoderSettings",
    "Evaluation",
    "EvaluationSettings",
    "FinetunedModel",
    "GeneratedQueries",
    "GenerationSettings",
    "Index",
    "IndexSettings",
    "InputError",
    "MergedModel",
    "MergingSettings",
    "MiningSettings",
    "ModelArguments",
    "Negatives",
    "PretrainedModel",
    "PretrainingSettings",
    "SharpenError",
    "StepFailed",
    "TeacherSettings",
    "TrainingArguments",
    "TrainingSettings",
    "TuningResult",
    "TuningSettings",
    "build_index",
    "compare",
    "embed",
    "enable_logging",
    "evaluate",
    "explain",
    "finetune",
    "generate_queries",
    "load_dataset",
    "load_model",
    "merge_models",
    "mine_hard_negatives",
    "pretrain",
    "score_by_teachers",
    "search",
    "tune",
]


def __getattr__(name: str) -> Any:
    """A public name, imported on first use (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
