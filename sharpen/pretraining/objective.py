"""The objective of pre-training: mean cross-entropy over the tokens of the whole batch, however many processes."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from sharpen.distributed import ProcessGroup
from sharpen.hardware.cpu_ops import CpuOps, RandomStream
from sharpen.pretraining.batches import IGNORED, MaskedBatch, MaskedTexts
from sharpen.pretraining.model import PretrainingModel
from sharpen.training.divergence import DivergenceError
from sharpen.training.gradient.accumulation import Gradients, accumulate, gradients_of
from sharpen.training.gradient.gradient_cache import gradients_that_fit, thread_count, whole_machine
from sharpen.training.processes import StopRequest
from sharpen.training.step_result import StepResult

ADVICE = "lower learning_rate, or look at the passages of this step; no weights were changed by it"


class MaskedTokenObjective:
    """A `loop.Objective`: the encoder's loss plus the decoder's, each a mean over its tokens.

    Args:
        model: what is trained.
    """

    def __init__(self, model: PretrainingModel) -> None:
        self.model = model

    def gradient(self, batch: MaskedBatch, exchange: ProcessGroup, stop: StopRequest | None = None) -> StepResult:
        """Leave the gradient of the whole batch's loss in every parameter's ``grad``, on every process.

        The processes talk twice: for the number of tokens, and for the gradients with the loss.

        Args:
            batch: this process's part of it.
            exchange: the processes.
            stop: whether this process was told to end, which all learn by the last exchange.
        """
        counts = exchange.sum([float(n) for n in _token_counts(batch)])
        totals = [max(1.0, count) for count in counts]
        encoder, parts = self.model.encoder, batch.micro_batches
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        seed = int(torch.randint(2**62, (1,)))
        losses = [(0.0, 0.0)] * len(parts)

        def loss_of(number: int) -> Tensor:
            rng = RandomStream((seed, number))
            with CpuOps(rng) if encoder.device.type == "cpu" else nullcontext():
                pair = self.model(parts[number].to(encoder.device))
            losses[number] = pair[0].item(), pair[1].item()
            return pair[0] / totals[0] + pair[1] / totals[1]

        def work(number: int) -> Callable[[], Gradients]:
            def computed() -> Gradients:
                loss = loss_of(number)
                with torch.autocast(encoder.device.type, enabled=False):
                    return gradients_of(loss, weights)

            return computed

        threads = thread_count(encoder, len(parts), gradients_that_fit(self.model, encoder.device))
        if threads:
            accumulate(weights, map(work, range(len(parts))), threads, encoder.autocast)
        else:
            with whole_machine(encoder), encoder.autocast():
                for number in range(len(parts)):
                    loss = loss_of(number)
                    with torch.autocast(encoder.device.type, enabled=False):
                        loss.backward()
        requests = float(stop is not None and stop.received)
        summed = [sum(pair[0] for pair in losses), sum(pair[1] for pair in losses), requests]
        first, second, requests = exchange.sum_gradients(weights, summed)
        figures = {"encoder_loss": first / totals[0], "masked_tokens": counts[0]}
        if self.model.decoder is not None:
            figures["decoder_loss"] = second / totals[1]
        loss = first / totals[0] + second / totals[1]
        return StepResult(loss, batch.total_rows, figures, requests > 0)

    def check_finite(self, result: StepResult, gradient_norm: float, batch: MaskedBatch) -> None:
        """Raise `DivergenceError` where the `result` of a `batch`, or its `gradient_norm`, is not finite."""
        if not (math.isfinite(result.loss) and math.isfinite(gradient_norm)):
            what = f"loss {result.loss}, gradient norm {gradient_norm}"
            figures = ", ".join(f"{name} {value:g}" for name, value in result.figures.items())
            raise DivergenceError(batch.step + 1, what, figures, ADVICE)

    def save(self, folder: Path) -> None:
        """Nothing: all is in the weights and the settings."""


def _token_counts(batch: MaskedBatch) -> tuple[int, int]:
    def count(labels: list[Tensor]) -> int:
        return sum(int((one != IGNORED).sum()) for one in labels)

    texts: list[MaskedTexts] = batch.micro_batches
    decoder = [one.decoder_labels for one in texts if one.decoder_labels is not None]
    return count([one.encoder_labels for one in texts]), count(decoder)
