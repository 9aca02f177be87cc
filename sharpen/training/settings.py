"""Settings of fine-tuning. Names are those of FlagEmbedding and of transformers' `TrainingArguments`."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from sharpen.index.sizes import size_of
from sharpen.losses import LOSSES, loss_parameters
from sharpen.settings import RelevanceLevel
from sharpen.training.data.mixing_settings import MixingSettings
from sharpen.training.model_card.cost import CostSettings
from sharpen.training.optimization.loop_settings import RATE, LoopSettings, usual_rate

OF_DISTILLATION = ("kd_weight", "infonce_weight", "teacher_temperature")
"""Settings that are arguments of those losses that take them."""

_OF_LORA = ("lora_alpha", "lora_dropout", "lora_target_modules")


class TrainingSettings(CostSettings, MixingSettings, LoopSettings):
    """How a base model is trained on the queries, positives and hard negatives of a data set."""

    # what one step sees
    relevance_level: RelevanceLevel = 1
    train_group_size: int = Field(
        8,
        ge=1,
        le=1024,
        description="Passages per query: one positive, the rest negatives; 1: in-batch negatives alone.",
    )
    use_inbatch_neg: bool = Field(True, description="The other queries' passages of the batch are negatives too.")
    negatives_cross_device: bool = Field(
        True, description="In-batch negatives come from the batch of all processes, not only from the process's own."
    )
    no_inbatch_sources: list[str] = Field(
        [],
        max_length=1000,
        description="Sources whose queries have the negatives of their own group only, and whose passages are no "
        "in-batch negatives.",
    )
    mask_false_negatives: bool = Field(
        True,
        description="What is known as relevant to a query, or is its own text, is never its negative; a text counts "
        "once per batch.",
    )
    false_negative_margin: float | None = Field(
        None,
        ge=0,
        le=2,
        description="Leave out in-batch negatives scoring more than this above the positive (before the temperature).",
    )
    shuffle_ratio: float = Field(
        0.0, ge=0, le=1, description="Share of positives whose text is cut in three at word ends and shuffled."
    )

    # the loss
    temperature: float = Field(
        0.02, gt=0, le=10, description="Scores are divided by it; must be 1 when embeddings are not normalised."
    )
    symmetric: bool = Field(False, description="Also contrast each positive with all queries of the batch.")
    matryoshka_dims: list[int] = Field(
        [],
        max_length=32,
        description="Train the first n dimensions for each n here as well as all of them; unset: all only.",
    )
    served_size: str = Field(
        "",
        description="Size of stored passages (dim:128, int8, binary, dim:128+int8) that loss and dev scores are for, "
        "too. Empty: whole vectors.",
    )
    loss: str = Field(
        "auto",
        min_length=1,
        max_length=256,
        description=f"{', '.join(LOSSES)}, or package.module:Name of your own; auto: infonce, or kd_loss_type.",
    )
    loss_arguments: dict[str, Any] = Field(
        {}, description="Arguments of the loss's constructor, such as margin of gist_embed."
    )
    guide_model: str | None = Field(
        None,
        min_length=1,
        description="Model of gist_embed: in-batch negatives that it finds as near as the positive are masked.",
    )
    knowledge_distillation: bool = Field(False, description="Learn from the teacher scores in the data.")
    kd_loss_type: Literal["kl_div", "m3_kd_loss"] = Field(
        "kl_div", description="kl_div: added to the contrastive loss; m3_kd_loss: replaces it."
    )
    kd_weight: float = Field(1.0, gt=0, le=1000, description="Weight of kl_div's distillation.")
    infonce_weight: float = Field(
        1.0, ge=0, le=1000, description="Weight of InfoNCE beside it in kl_div; 0: the teacher's scores alone."
    )
    teacher_temperature: float = Field(
        1.0, gt=0, le=1000, description="The teacher's scores are divided by it; above 1 softens what it says."
    )

    # memory
    gradient_cache: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Encode twice, first without activations. auto: only what does not fit into activation_gib.",
    )
    activation_gib: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Memory of a process for activations kept from the first pass; unset: of what is free 60 % on "
        "a GPU, 25 % on a CPU.",
    )
    sub_batch_size: int | None = Field(
        None, ge=1, le=1_048_576, description="Most texts that are encoded at once; unset: only tokens limit it."
    )

    fsdp: bool = Field(
        False,
        description="Cut weights, gradients and optimiser's state into a shard a process (FSDP2), for models beyond "
        "one GPU; no effect on one process.",
    )

    # the model
    share_encoder: bool = Field(
        True,
        description="Queries and passages go through one encoder; false: through two towers, equal at first unless the "
        "base model has two already.",
    )
    lora_rank: int = Field(
        0, ge=0, le=1024, description="Train adapters of this rank (LoRA, needs sharpen[lora]); 0: train all weights."
    )
    lora_alpha: float = Field(16.0, gt=0, le=4096, description="Adapters are weighted by lora_alpha / lora_rank.")
    lora_dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the adapters.")
    lora_target_modules: list[str] = Field(
        ["all-linear"],
        min_length=1,
        max_length=64,
        description="Layers that get adapters, by the names in the model; all-linear: every linear layer.",
    )
    quantize_base: Literal["none", "nf4"] = Field(
        "none",
        description="nf4: the base's linear layers in 4 bits beside adapters (QLoRA; needs lora_rank and "
        "sharpen[qlora]).",
    )
    fix_position_embedding: bool = Field(False, description="Do not train position embeddings.")

    # optimisation
    learning_rate: float = Field(
        RATE, gt=0, le=1, description="Highest learning rate; where none is set, 1e-4 for adapters (lora_rank)."
    )
    max_train_minutes: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="As many steps as fit into it are trained, as the first show; the model depends on the machine.",
    )
    # watching
    eval_steps: float = Field(
        0,
        ge=0,
        le=100_000_000,
        description="Steps between two dev evaluations (nDCG@10) and checkpoints; the best model, the base included, "
        "is kept. Below 1: share of steps; 0: none.",
    )
    dev_scores_address: str = Field(
        "",
        max_length=1024,
        description="Address of a JSON file to which each dev evaluation is written as soon as it is known, for who "
        "looks on from elsewhere. Empty: none.",
    )
    average_checkpoints: int = Field(
        0,
        ge=0,
        le=100,
        description="The model is the mean of this many last checkpoints (each save_steps, and the last step's). 0: "
        "the last or best one.",
    )
    eval_corpus_size: int = Field(
        20_000,
        ge=1,
        le=100_000_000,
        description="Passages that dev evaluation searches: all relevant ones and random others.",
    )
    early_stopping_patience: int = Field(
        0, ge=0, le=1000, description="Stop after this many dev evaluations without a better nDCG@10; 0: never."
    )
    # when a loss or gradient is not finite
    on_divergence: Literal["stop", "soften"] = Field(
        "stop",
        description="stop: end with advice; soften: from the last checkpoint, or the start, at twice the temperature.",
    )
    max_temperature_increases: int = Field(3, ge=1, le=16, description="How often soften may double the temperature.")

    @model_validator(mode="after")
    def _set_rate(self) -> Self:
        if "learning_rate" not in self.model_fields_set:
            # not as a field that was given: other settings made from this one have a default of their own
            vars(self)["learning_rate"] = usual_rate(self.lora_rank)
        return self

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.early_stopping_patience and not self.eval_steps:
            raise ValueError("early_stopping_patience needs eval_steps: set how often dev is evaluated")
        if self.dev_scores_address and not self.eval_steps:
            raise ValueError("dev_scores_address needs eval_steps: set how often dev is evaluated")
        if self.average_checkpoints and self.eval_steps:
            raise ValueError("average_checkpoints needs eval_steps 0, by which the best checkpoint is taken alone")
        if self.average_checkpoints > (self.save_total_limit if self.save_steps else 0):
            raise ValueError("average_checkpoints needs save_steps, and a save_total_limit at least as large")
        if self.eval_steps > 1 and not self.eval_steps.is_integer():
            raise ValueError("eval_steps: a whole number of steps, or below 1 a share of them")
        if any(dim < 1 for dim in self.matryoshka_dims) or len(set(self.matryoshka_dims)) != len(self.matryoshka_dims):
            raise ValueError("matryoshka_dims: every dimension once and at least 1")
        size_of(self.served_size)
        self._check_loss()
        if self.train_group_size == 1:
            self._check_that_there_are_negatives()
        if self.symmetric and not self.use_inbatch_neg:
            raise ValueError("symmetric contrasts with the queries of the batch, so it needs use_inbatch_neg")
        if self.no_inbatch_sources and not self.use_inbatch_neg:
            raise ValueError("no_inbatch_sources has no effect with use_inbatch_neg false, where no source has them")
        if len(set(self.no_inbatch_sources)) != len(self.no_inbatch_sources):
            raise ValueError("no_inbatch_sources: name every source once")
        unused = [name for name in _OF_LORA if getattr(self, name) != type(self).model_fields[name].default]
        if unused and not self.lora_rank:
            raise ValueError(f"{unused[0]} has no effect without lora_rank; set it, for example to 16")
        if self.quantize_base != "none" and not self.lora_rank:
            raise ValueError("quantize_base: weights of 4 bits are not trained themselves; set lora_rank, such as 16")
        if self.quantize_base != "none" and self.fsdp:
            raise ValueError("quantize_base: weights of 4 bits are not sharded; set fsdp to false, or this to none")
        if self.activation_gib is not None and self.gradient_cache != "auto":
            raise ValueError(f"activation_gib has no effect with gradient_cache {self.gradient_cache}; leave it auto")
        return self

    @property
    def loss_name(self) -> str:
        """The setting `loss`, with what `auto` stands for."""
        if self.loss != "auto":
            return self.loss
        return self.kd_loss_type if self.knowledge_distillation else "infonce"

    def _check_loss(self) -> None:
        """Nothing is set that the loss does not heed; of a class of the user's own only its name is checked."""
        name = self.loss_name
        if name not in LOSSES and ":" not in name:
            raise ValueError(f"loss: one of {', '.join(LOSSES)}, or package.module:Name, not {name}")
        taken = loss_parameters(name)
        for setting in OF_DISTILLATION:
            if getattr(self, setting) != type(self).model_fields[setting].default and setting not in taken:
                raise ValueError(f"{setting} has no effect with {name}, which does not take it")
        if name not in LOSSES:
            return
        loss = LOSSES[name]
        if loss.distills == "always" and not self.knowledge_distillation:
            raise ValueError(f"loss {name} learns from teacher scores: set knowledge_distillation to true")
        if loss.distills == "never" and self.knowledge_distillation:
            raise ValueError(f"knowledge_distillation has no effect with loss {name}; leave loss at auto")
        if loss.guided != (self.guide_model is not None):
            raise ValueError(
                f"loss {name} needs guide_model" if loss.guided else f"guide_model has no effect with loss {name}"
            )
        if not loss.scaled and "temperature" in self.model_fields_set and self.temperature != 1.0:
            raise ValueError(f"temperature has no effect with loss {name}, which learns the scores themselves")
        unused = {"symmetric": self.symmetric, "no_inbatch_sources": bool(self.no_inbatch_sources)}
        unused["false_negative_margin"] = self.false_negative_margin is not None
        for setting, is_set in unused.items():
            if is_set and not loss.in_batch:
                raise ValueError(f"{setting} has no effect with loss {name}, which has no in-batch negatives")
        if self.train_group_size == 1 and not loss.in_batch:
            raise ValueError(f"loss {name} compares the passages of a group; it needs train_group_size 2 or more")

    def _check_that_there_are_negatives(self) -> None:
        """Without negatives in a query's group, all come from the other rows of the batch."""
        if not self.use_inbatch_neg:
            raise ValueError("train_group_size 1 has no negatives without use_inbatch_neg; set it, or a larger group")
        if self.train_batch_size == 1:
            raise ValueError("train_group_size 1 and train_batch_size 1 leave no negatives; raise one of them")
        if self.no_inbatch_sources:
            raise ValueError("no_inbatch_sources have only the negatives of their groups; they need train_group_size 2")
        if self.knowledge_distillation:
            raise ValueError("knowledge_distillation compares passages of a group; it needs train_group_size 2 or more")
