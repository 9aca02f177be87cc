"""Settings of pre-training. Names are those of FlagEmbedding's RetroMAE and of transformers' `TrainingArguments`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from sharpen.settings import LONGEST_TEXT
from sharpen.training.optimization.loop_settings import LoopSettings


class PretrainingSettings(LoopSettings):
    """How a base model is trained further on the passages of a corpus, before any query is seen."""

    method: Literal["retromae", "mlm"] = Field(
        "retromae",
        description="retromae: the masked text is restored from its embedding by a weak decoder (arXiv 2205.12035), "
        "beside plain masked-language modelling; mlm: only the latter.",
    )
    encoder_mlm_probability: float = Field(
        0.3, gt=0, lt=1, description="Share of a text's tokens that are masked for the encoder."
    )
    decoder_mlm_probability: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="Share of the other tokens that the decoder does not see; each token has a draw of its own.",
    )
    whole_word_mask: bool = Field(True, description="Mask all tokens of a word or none.")
    max_seq_length: int = Field(
        512,
        ge=8,
        le=LONGEST_TEXT,
        description="Tokens of a window, special ones included, and at most what the model can take; longer passages "
        "are cut into windows of like lengths, at word ends.",
    )
    pack_passages: bool = Field(
        False, description="Put short passages together into one window, with the separator between them."
    )

    # of all loops, with other words
    train_batch_size: int = Field(64, ge=1, le=1_048_576, description="Windows per optimiser step over all processes.")
    num_train_epochs: float = Field(2.0, gt=0, le=1000, description="Passes over the windows.")

    @model_validator(mode="after")
    def _has_a_decoder(self) -> Self:
        default = type(self).model_fields["decoder_mlm_probability"].default
        if self.method == "mlm" and self.decoder_mlm_probability != default:
            raise ValueError("decoder_mlm_probability has no effect with method mlm, which has no decoder")
        return self


class StepSettings(PretrainingSettings):
    """Pre-training as a step of a pipeline."""

    enabled: bool = Field(
        False, description="Train the model that training starts from on the corpus first, before mining."
    )
