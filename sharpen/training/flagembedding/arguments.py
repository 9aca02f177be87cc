"""FlagEmbedding's three dataclasses of arguments, under its names too.

They have every argument of FlagEmbedding 1.4's dense embedders with its default, and are read by transformers'
`HfArgumentParser` from a command line or a dict; `command` turns them into settings of ours.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import transformers

UNLIMITED = 100_000_000
"""The reference's default of `max_example_num_per_dataset`."""


def _option(default: Any, text: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": text, **more})


@dataclass
class ModelArguments:
    """Which model is trained."""

    model_name_or_path: str = field(metadata={"help": "Base model: a folder, an s3:// address or a hub id."})
    config_name: str | None = _option(None, "Folder or hub id of another configuration.")
    tokenizer_name: str | None = _option(None, "Folder or hub id of another tokenizer.")
    cache_dir: str | None = _option(None, "The hub's cache.")
    trust_remote_code: bool = _option(False, "Has no effect: no code from a model's folder is run.")
    use_fast_tokenizer: bool = _option(True, "Has no effect: the fast tokenizer is used where there is one.")
    # neither printed nor logged with the rest
    token: str | None = field(
        default_factory=lambda: os.getenv("HF_TOKEN"), repr=False, metadata={"help": "For the hub; default: $HF_TOKEN."}
    )


@dataclass
class DecoderOnlyModelArguments(ModelArguments):
    """Which decoder-only model is trained, by adapters unless `use_lora` is false."""

    peft_model_path: str = _option("", "Has no effect, as in FlagEmbedding.")
    use_lora: bool = _option(True, "Train adapters.")
    lora_rank: int = _option(64, "Rank of the adapters.")
    lora_alpha: float = _option(16, "Weight of the adapters times their rank.")
    lora_dropout: float = _option(0.1, "Dropout before the adapters.")
    target_modules: list[str] = field(
        default_factory=lambda: [f"{name}_proj" for name in ("v", "q", "k", "gate", "down", "o", "up")],
        metadata={"help": "Layers that get adapters."},
    )
    use_flash_attn: bool = _option(False, "Flash attention on a GPU.")
    use_slow_tokenizer: bool = _option(False, "Has no effect, as in FlagEmbedding.")
    from_peft: str | None = _option(None, "Not supported: merge the adapter into the model first.")
    modules_to_save: str | None = _option(None, "Not supported.")
    raw_peft: str | None = _option(None, "Not supported: merge the adapter into the model first.")
    additional_special_tokens: list[str] | None = field(
        default=None, metadata={"help": "Added to the tokenizer, each with a vector.", "nargs": "+"}
    )
    save_merged_lora_model: bool = _option(False, "Has no effect: adapters are always merged.")
    only_merge_lora_model: bool = _option(False, "Not supported.")


@dataclass
class DataArguments:
    """What is trained on."""

    train_data: list[str] = field(default_factory=list, metadata={"help": "Files or folders of rows.", "nargs": "+"})
    cache_path: str | None = _option(None, "Folder for prepared data; default: $SHARPEN_CACHE.")
    train_group_size: int = _option(8, "Passages per query: one positive, the rest negatives.")
    query_max_len: int = _option(32, "Longest query in tokens, instruction included.")
    passage_max_len: int = _option(128, "Longest passage in tokens.")
    pad_to_multiple_of: int | None = _option(None, "Has no effect: widths are chosen by the trainer.")
    max_example_num_per_dataset: int = _option(UNLIMITED, "Most queries of a file; more are left out by lot.")
    query_instruction_for_retrieval: str | None = _option(None, "Put before every query.")
    query_instruction_format: str = _option("{}{}", "How instruction and query are joined.")
    knowledge_distillation: bool = _option(False, "Learn from pos_scores and neg_scores.")
    passage_instruction_for_retrieval: str | None = _option(None, "Put before every passage.")
    passage_instruction_format: str | None = _option("{}{}", "How instruction and passage are joined.")
    shuffle_ratio: float = _option(0.0, "Share of positives whose text is cut in three and shuffled.")
    same_dataset_within_batch: bool = _option(False, "All queries of a batch come from one file.")
    small_threshold: int = _option(0, "Has no effect: a small file stays a dataset of its own.")
    drop_threshold: int = _option(0, "Has no effect: no file is dropped.")

    def __post_init__(self) -> None:
        self.train_data = [self.train_data] if isinstance(self.train_data, str) else list(self.train_data)


@dataclass
class TrainingArguments(transformers.TrainingArguments):
    """How it is trained: transformers' own arguments and these.

    They are only read: unlike transformers' own, making them starts no process group and asks for no device.
    """

    negatives_cross_device: bool = _option(False, "In-batch negatives come from all processes.")
    temperature: float | None = _option(0.02, "Scores are divided by it.")
    fix_position_embedding: bool = _option(False, "Do not train position embeddings.")
    sentence_pooling_method: str = _option("cls", "Pooling.", choices=["cls", "mean", "last_token"])
    normalize_embeddings: bool = _option(True, "Scale embeddings to length 1.")
    sub_batch_size: int | None = _option(None, "Most texts that are encoded at once.")
    kd_loss_type: str = _option("kl_div", "Loss of the teacher's scores.", choices=["kl_div", "m3_kd_loss"])
    use_mrl: bool = _option(False, "Train prefixes of embeddings too.")
    mrl_dims: list[int] = field(default_factory=list, metadata={"help": "Lengths of the prefixes."})
    # transformers 4 had them
    overwrite_output_dir: bool = _option(False, "Replace a model at output_dir.")
    warmup_ratio: float = _option(0.0, "Share of steps of rising learning rate.")
    logging_dir: str | None = _option(None, "Folder for the logs of trackers.")

    def __post_init__(self) -> None:
        """Nothing of what transformers does here."""


AbsEmbedderModelArguments = ModelArguments
AbsEmbedderDataArguments = DataArguments
AbsEmbedderTrainingArguments = TrainingArguments
