"""Loss against a second implementation in loops, and the gradient on several processes against one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import erf, log_softmax, softmax

from sharpen.distributed import ProcessGroup
from sharpen.pretraining.model import PretrainingModel
from sharpen.pretraining.objective import MaskedTokenObjective
from sharpen.pretraining.pretrain import window_steps
from sharpen.pretraining.settings import PretrainingSettings
from sharpen.pretraining.windows import Windows
from tests.sharpen.pretraining.gradients import METHODS, inputs_of, one

pytestmark = pytest.mark.model


def normalised(vector: np.ndarray, weights: dict[str, np.ndarray], name: str, epsilon: float = 1e-12) -> np.ndarray:
    scaled = (vector - vector.mean()) / np.sqrt(vector.var() + epsilon)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu(vector: np.ndarray) -> np.ndarray:
    return 0.5 * vector * (1 + erf(vector / np.sqrt(2)))


class Slow:
    """RetroMAE's losses of one text, position by position, in float64."""

    def __init__(self, model: PretrainingModel) -> None:
        self.model = model
        self.weights = {name: value.double().numpy() for name, value in model.state_dict().items()}

    def linear(self, name: str, vector: np.ndarray) -> np.ndarray:
        return self.weights[f"{name}.weight"] @ vector + self.weights[f"{name}.bias"]

    def embedding(self, vector: np.ndarray, position: int) -> np.ndarray:
        names = [f"encoder.model.embeddings.{kind}_embeddings.weight" for kind in ("position", "token_type")]
        summed = vector + self.weights[names[0]][position] + self.weights[names[1]][0]
        return normalised(summed, self.weights, "encoder.model.embeddings.LayerNorm")

    def cross_entropy(self, vector: np.ndarray, token: int) -> float:
        head = "head.0.predictions"
        hidden = gelu(self.linear(f"{head}.transform.dense", vector))
        hidden = normalised(hidden, self.weights, f"{head}.transform.LayerNorm")
        tokens = self.weights["encoder.model.embeddings.word_embeddings.weight"]
        return -float(log_softmax(tokens @ hidden + self.weights[f"{head}.bias"])[token])

    def encoder(self, masked_ids: list[int]) -> np.ndarray:
        with torch.no_grad():
            return self.model.encoder.model(torch.tensor([masked_ids])).last_hidden_state[0].double().numpy()

    def decoder(self, sentence: np.ndarray, ids: list[int], position: int, sees: list[int]) -> np.ndarray:
        words = self.weights["encoder.model.embeddings.word_embeddings.weight"]
        query = self.embedding(sentence, position)
        texts = {j: sentence if j == 0 else self.embedding(words[ids[j]], j) for j in sees}
        heads, size = self.model.decoder.heads, len(sentence)  # type: ignore[union-attr]
        asked = self.linear("decoder.query", query)
        keys = {j: self.linear("decoder.key", text) for j, text in texts.items()}
        values = {j: self.linear("decoder.value", text) for j, text in texts.items()}
        attended = np.zeros(size)
        for head in range(heads):
            part = slice(head * size // heads, (head + 1) * size // heads)
            shares = softmax([asked[part] @ keys[j][part] / np.sqrt(size // heads) for j in sees])
            attended[part] = sum(share * values[j][part] for share, j in zip(shares, sees, strict=True))
        epsilon = self.model.encoder.model.config.layer_norm_eps
        states = query + self.linear("decoder.output", attended)
        states = normalised(states, self.weights, "decoder.attention_norm", epsilon)
        ahead = self.linear("decoder.contract", gelu(self.linear("decoder.expand", states)))
        return normalised(states + ahead, self.weights, "decoder.output_norm", epsilon)


def test_loss_equals_the_definition(tiny_model: Path, windows: Path) -> None:
    settings = PretrainingSettings.checked({"train_batch_size": 7, "micro_batch_tokens": 64})
    inputs = inputs_of(str(tiny_model), str(windows), settings)
    batch = window_steps(inputs, settings, ProcessGroup())[0]
    found = MaskedTokenObjective(inputs.model).gradient(batch, ProcessGroup())
    slow, encoder, decoder = Slow(inputs.model), [], []
    for texts in batch.micro_batches:
        assert texts.visible is not None and texts.decoder_labels is not None
        for row in range(len(texts.ids)):
            length = int(texts.attention_mask[row].sum())
            ids = texts.ids[row, :length].tolist()
            states = slow.encoder(texts.masked_ids[row, :length].tolist())
            for position in range(length):
                if texts.encoder_labels[row, position] >= 0:
                    encoder.append(slow.cross_entropy(states[position], ids[position]))
                if texts.decoder_labels[row, position] >= 0:
                    sees = texts.visible[row, position].nonzero().flatten().tolist()
                    decoder.append(slow.cross_entropy(slow.decoder(states[0], ids, position, sees), ids[position]))
    assert len(decoder) > 30 and len(encoder) > 10
    assert found.figures["encoder_loss"] == pytest.approx(np.mean(encoder), abs=1e-5)
    assert found.figures["decoder_loss"] == pytest.approx(np.mean(decoder), abs=1e-5)
    assert found.loss == pytest.approx(np.mean(encoder) + np.mean(decoder), abs=1e-5)


def test_blocks_of_scores_change_nothing(tiny_model: Path, windows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = one(str(tiny_model), str(windows), "retromae", ProcessGroup())
    monkeypatch.setattr("sharpen.pretraining.model.BLOCK_SCORES", 3000)
    blocks = one(str(tiny_model), str(windows), "retromae", ProcessGroup())
    assert blocks["loss"] == pytest.approx(float(whole["loss"]), abs=1e-5)
    assert np.abs(blocks["gradient"] - whole["gradient"]).max() < 1e-5


def test_plain_masked_language_modelling_is_transformers_own(tiny_model: Path, windows: Path) -> None:
    from transformers import AutoModelForMaskedLM

    settings = PretrainingSettings.checked({"method": "mlm", "train_batch_size": 7})
    inputs = inputs_of(str(tiny_model), str(windows), settings)
    batch = window_steps(inputs, settings, ProcessGroup())[0]
    found = MaskedTokenObjective(inputs.model).gradient(batch, ProcessGroup())
    other = AutoModelForMaskedLM.from_pretrained(tiny_model).eval()
    other.bert.load_state_dict(inputs.model.encoder.model.state_dict())
    other.cls.load_state_dict(inputs.model.head[0].state_dict())
    texts = batch.micro_batches
    with torch.no_grad():
        losses = [
            other(input_ids=one.masked_ids, attention_mask=one.attention_mask, labels=one.encoder_labels).loss
            * (one.encoder_labels >= 0).sum()
            for one in texts
        ]
    expected = sum(losses) / sum((one.encoder_labels >= 0).sum() for one in texts)
    assert found.loss == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.processes
def test_the_gradient_on_several_processes_is_that_of_one(tiny_model: Path, windows: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.sharpen.pretraining.gradients", str(tiny_model)]
    command += [str(windows), "2,4", str(tmp_path)]
    subprocess.run(command, check=True, timeout=240, cwd=Path(__file__).parents[3])
    for method in METHODS:
        alone = one(str(tiny_model), str(windows), method, ProcessGroup())
        expected = alone["gradient"].astype(np.float64)
        for size, rank in [(2, 0), (2, 1), (4, 0), (4, 3)]:
            found = np.load(tmp_path / f"{method}-{size}-{rank}.npz")
            assert float(found["loss"]) == pytest.approx(float(alone["loss"]), rel=1e-5)
            gradient = found["gradient"].astype(np.float64)
            assert np.linalg.norm(gradient - expected) <= 1e-5 * np.linalg.norm(expected)


def test_a_step_is_the_same_however_it_is_dealt_out(tiny_model: Path, windows: Path) -> None:
    """Masks of a window depend on seed, epoch and window, not on its neighbours; another epoch has other ones."""
    settings = PretrainingSettings.checked({"train_batch_size": 7, "max_steps": 40})
    inputs = inputs_of(str(tiny_model), str(windows), settings)
    steps = window_steps(inputs, settings, ProcessGroup())
    alone, beside = steps.masked([3], 0), steps.masked([3, 5], 0)
    length = int(alone.attention_mask.sum())
    for name in ("masked_ids", "encoder_labels", "visible"):
        one_row, first = getattr(alone, name)[0], getattr(beside, name)[0]
        cut = (slice(length),) * one_row.dim()
        assert torch.equal(one_row[cut], first[cut])
    assert not torch.equal(alone.masked_ids, steps.masked([3], 1).masked_ids)
    seen = [len(batch.ids) for step in range(steps.per_epoch) for batch in steps[step].micro_batches]
    assert sum(seen) == len(Windows(windows))
