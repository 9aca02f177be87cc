"""Settings of every training loop, with the names of transformers' `TrainingArguments`."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from sharpen.settings import SettingsModel

# Trackers of transformers that write files where the training says.
WRITE_FILES = frozenset({"all", "codecarbon", "tensorboard"})


RATE, ADAPTER_RATE = 2e-5, 1e-4
"""Learning rates where none is set: of all weights, of adapters.

FlagEmbedding's maintainers name 2e-5 for base models. Its example for decoders (rank 32) and E5-Mistral (rank 16, arXiv
2401.00368) train adapters at 1e-4: these begin at 0, and 2e-5 leaves them near it.
"""


def usual_rate(lora_rank: int) -> float:
    """The learning rate where none is set, for adapters of a rank; 0: all weights are trained."""
    return ADAPTER_RATE if lora_rank else RATE


class LoopSettings(SettingsModel):
    """How weights are optimised, watched and kept, whatever is minimised."""

    # what one step sees, and computes at once
    train_batch_size: int = Field(
        64,
        ge=1,
        le=1_048_576,
        description="Queries per optimiser step over all processes "
        "(FlagEmbedding: per_device_train_batch_size x processes).",
    )
    micro_batch_tokens: int | None = Field(
        None,
        ge=16,
        le=16_777_216,
        description="Most tokens, padding included, of one micro-batch; unset: 16384 on a GPU, 1024 on a CPU, where "
        "more is slower.",
    )
    gradient_checkpointing: bool = Field(False, description="Recompute activations layer by layer to save memory.")

    dropout: float | None = Field(None, ge=0, lt=1, description="Dropout while training; unset: the model's own.")

    # optimisation
    learning_rate: float = Field(RATE, gt=0, le=1, description="Highest learning rate.")
    num_train_epochs: float = Field(2.0, gt=0, le=1000, description="Passes over the training queries.")
    max_steps: int = Field(-1, ge=-1, le=100_000_000, description="Stop after this many steps; -1: by epochs.")
    warmup_steps: float = Field(
        0.1, ge=0, le=100_000_000, description="Steps of rising learning rate, from above 0; below 1: share of steps."
    )
    lr_scheduler_type: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
    ] = Field("linear", description="Course of the learning rate after the warm-up.")
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW's decoupled weight decay.")
    max_grad_norm: float = Field(1.0, ge=0, le=1e6, description="Gradient norm is clipped to it; 0: not clipped.")
    seed: int = Field(42, ge=0, le=2**31 - 1, description="Seed of batches, draws and dropout.")

    # watching and keeping
    logging_steps: int = Field(5, ge=1, le=1_000_000, description="Steps between two points of the loss curve.")
    save_steps: int = Field(200, ge=0, le=100_000_000, description="Steps between two checkpoints; 0: none.")
    save_total_limit: int = Field(
        2, ge=2, le=1000, description="Checkpoints that are kept; the last one must stay while the next is written."
    )
    checkpoint_folder: str | None = Field(
        None,
        description="Local folder for checkpoints; unset: one in the user's cache, named by data, model and settings.",
    )
    checkpoint_address: str = Field(
        "auto",
        max_length=1024,
        description="Where checkpoints are copied to, to survive the machine; auto: next to an output in an "
        "object store, else nowhere; empty: nowhere.",
    )
    report_to: list[str] = Field([], max_length=8, description="Trackers of transformers, such as tensorboard, mlflow.")
    logging_dir: str | None = Field(
        None,
        min_length=1,
        description="Local folder for the logs of trackers that write files; unset: next to a local output, else in "
        "the user's cache.",
    )

    training_arguments: dict[str, Any] = Field(
        {},
        description="Other fields of transformers' TrainingArguments; gradient_accumulation_steps multiplies "
        "train_batch_size.",
    )

    @model_validator(mode="before")
    @classmethod
    def _accumulate(cls, values: Any) -> Any:
        """Fold `gradient_accumulation_steps` into `train_batch_size`."""
        given = values.get("training_arguments") if isinstance(values, dict) else None
        if not isinstance(given, dict) or "gradient_accumulation_steps" not in given:
            return values
        others = {name: value for name, value in given.items() if name != "gradient_accumulation_steps"}
        steps = given["gradient_accumulation_steps"]
        size = values.get("train_batch_size", cls.model_fields["train_batch_size"].default)
        if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
            raise ValueError(f"training_arguments.gradient_accumulation_steps must be at least 1 (given: {steps})")
        return {**values, "train_batch_size": int(size) * steps, "training_arguments": others}

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if self.logging_dir and not WRITE_FILES & {*self.report_to}:
            raise ValueError("logging_dir has no effect without a tracker that writes files, such as tensorboard")
        if self.max_steps == 0:
            raise ValueError("max_steps: 0 trains nothing; use -1 to go by num_train_epochs")
        return self
