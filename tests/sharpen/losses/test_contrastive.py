"""The loss and its gradient against slow code from the definitions, finite differences, and sentence-transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from sharpen.losses import contrastive as loss_module
from sharpen.losses.contrastive import ContrastiveRows, LossConfig, loss_and_gradient
from sharpen.losses.distillation import M3Distillation
from sharpen.training.data.collator import shard_batch
from sharpen.training.data.examples import Examples
from sharpen.training.data.sampler import Batch
from sharpen.training.objective import objective_of
from sharpen.training.settings import TrainingSettings
from tests.sharpen.training.slow import slow_loss
from tests.sharpen.training.small_data import parts, small_data

DIMENSION = 12
VARIANTS = {
    "plain": {},
    "in-batch negatives alone": {"train_group_size": 1},
    "in-batch negatives alone, symmetric, unmasked": {
        "train_group_size": 1,
        "symmetric": True,
        "mask_false_negatives": False,
    },
    "unmasked": {"mask_false_negatives": False},
    "margin": {"false_negative_margin": 0.1},
    "matryoshka": {"matryoshka_dims": [4, 12, 8]},
    "matryoshka, full size not named": {"matryoshka_dims": [4, 8]},
    "served as 8 bits": {"served_size": "dim:8+binary"},
    "served in 8 dimensions of int8": {"served_size": "dim:8+int8", "matryoshka_dims": [4]},
    "served in 8 dimensions, symmetric": {"served_size": "dim:8", "symmetric": True},
    "served as int8, symmetric, in groups": {"served_size": "int8", "symmetric": True, "no_inbatch_sources": ["b"]},
    "kl_div": {"knowledge_distillation": True, "kd_weight": 0.7},
    "m3_kd_loss": {"knowledge_distillation": True, "kd_loss_type": "m3_kd_loss"},
    "kl_div beside a little InfoNCE": {
        "knowledge_distillation": True,
        "infonce_weight": 0.1,
        "teacher_temperature": 2.5,
    },
    "kl_div alone, symmetric": {
        "symmetric": True,
        "knowledge_distillation": True,
        "infonce_weight": 0.0,
        "teacher_temperature": 0.5,
    },
    "m3_kd_loss, softened": {
        "knowledge_distillation": True,
        "kd_loss_type": "m3_kd_loss",
        "teacher_temperature": 3.0,
    },
    "in-batch off": {"use_inbatch_neg": False},
    "in-batch off, kl_div": {"use_inbatch_neg": False, "knowledge_distillation": True},
    "in-batch off, m3": {"use_inbatch_neg": False, "knowledge_distillation": True, "kd_loss_type": "m3_kd_loss"},
    "symmetric": {"symmetric": True},
    "symmetric, kl_div": {"symmetric": True, "knowledge_distillation": True, "kd_weight": 1.7},
    "symmetric, m3": {"symmetric": True, "knowledge_distillation": True, "kd_loss_type": "m3_kd_loss"},
    "symmetric, unmasked": {"symmetric": True, "mask_false_negatives": False},
    "symmetric, margin, matryoshka": {"symmetric": True, "false_negative_margin": 0.2, "matryoshka_dims": [6, 12]},
    "unmasked, kl_div": {"mask_false_negatives": False, "knowledge_distillation": True},
    "cold": {"temperature": 0.02},
    "a source apart": {"no_inbatch_sources": ["b"]},
    "a source apart, unmasked": {"no_inbatch_sources": ["b"], "mask_false_negatives": False},
    "a source apart, margin": {"no_inbatch_sources": ["b"], "false_negative_margin": 0.1},
    "a source apart, kl_div": {"no_inbatch_sources": ["b"], "knowledge_distillation": True},
    "a source apart, m3": {
        "no_inbatch_sources": ["b"],
        "knowledge_distillation": True,
        "kd_loss_type": "m3_kd_loss",
    },
    "a source apart, symmetric, matryoshka": {
        "no_inbatch_sources": ["b"],
        "symmetric": True,
        "matryoshka_dims": [6, 12],
    },
    "all sources apart": {"no_inbatch_sources": ["a", "b"]},
}


class _NoTokens:
    """Stands for `Tokens` where only numbers matter."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def queries(self, numbers: list[int]) -> list[list[int]]:
        return [[number] for number in numbers]

    passages = queries

    def tokenize(self, passages: list[str]) -> list[list[int]]:
        return [[len(passage)] for passage in passages]


def settings_for(**values: object) -> TrainingSettings:
    return TrainingSettings.checked(
        {"train_batch_size": 7, "train_group_size": 4, "temperature": 0.2, "learning_rate": 1e-3, **values}
    )


def drawn(settings: TrainingSettings, step: int = 0) -> tuple[Examples, Batch]:
    examples, batches = parts(settings, sources=("a", "b"))
    return examples, batches.batch(step)


def fast_and_slow(settings: TrainingSettings, step: int) -> tuple[float, Tensor, Tensor, Tensor, float]:
    """(fast loss, fast gradient, slow loss, slow gradient, negatives per query) on random unit vectors."""
    examples, batch = drawn(settings, step)
    layout = shard_batch(batch, _NoTokens(examples), settings, 0, 1)  # type: ignore[arg-type]
    torch.manual_seed(step)
    rows = len(layout.queries) + len(layout.texts)
    embeddings = functional.normalize(torch.randn(rows, DIMENSION, dtype=torch.float64), dim=1).requires_grad_()
    keys = [("query", int(examples.query_number[q])) for q in layout.queries]
    keys += [("text", int(t)) for t in layout.texts]
    vectors = {key: embeddings[place] for place, key in enumerate(keys)}
    slow = slow_loss(batch, small_data(sources=("a", "b")), examples, vectors, settings)
    (slow_gradient,) = torch.autograd.grad(slow, embeddings)
    fast = loss_and_gradient(
        *(embeddings.detach(), layout.contrasts, objective_of(settings, normalize=True), layout.total_rows),
        first_passage=len(layout.queries),
    )
    return fast.loss, fast.gradient, slow, slow_gradient, fast.negatives / layout.total_rows


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("step", [0, 2])
def test_equals_the_definition(name: str, step: int) -> None:
    settings = settings_for(**VARIANTS[name])
    loss, gradient, slow, slow_gradient, _ = fast_and_slow(settings, step)
    # codes of the index are read back in float32
    rounding = 1e-6 if "int8" in settings.served_size else 1e-10
    assert loss == pytest.approx(slow.item(), rel=rounding)
    # The slow code scales vectors to length 1 once more, so the two may differ along the vector itself.
    both = (_tangent(gradient, settings, step), _tangent(slow_gradient, settings, step))
    torch.testing.assert_close(*both, rtol=max(1e-7, rounding), atol=max(1e-7, rounding))


def _tangent(gradient: Tensor, settings: TrainingSettings, step: int) -> Tensor:
    """The part of a gradient that is at right angles to its vector: normalisation in the encoder keeps only that."""
    torch.manual_seed(step)
    vectors = functional.normalize(torch.randn(gradient.shape[0], DIMENSION, dtype=torch.float64), dim=1)
    return gradient - (gradient * vectors).sum(dim=1, keepdim=True) * vectors


@pytest.mark.parametrize("name", VARIANTS)
def test_blocks_do_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_for(**VARIANTS[name])
    whole = fast_and_slow(settings, 0)
    monkeypatch.setattr(loss_module, "BLOCK_ENTRIES", 60)
    cut = fast_and_slow(settings, 0)
    assert cut[0] == pytest.approx(whole[0], rel=1e-12)
    torch.testing.assert_close(cut[1], whole[1])
    assert cut[4] == whole[4]


@pytest.mark.parametrize(
    "name", ["plain", "kl_div", "m3_kd_loss", "in-batch off", "matryoshka", "symmetric", "a source apart"]
)
def test_finite_differences(name: str) -> None:
    settings = settings_for(**VARIANTS[name])
    examples, batch = drawn(settings)
    layout = shard_batch(batch, _NoTokens(examples), settings, 0, 1)  # type: ignore[arg-type]
    objective = objective_of(settings, normalize=True)
    torch.manual_seed(1)
    vectors = torch.randn(len(layout.queries) + len(layout.texts), DIMENSION, dtype=torch.float64)
    exact = loss_and_gradient(vectors, layout.contrasts, objective, layout.total_rows).gradient
    width = 1e-6
    for row, column in [(0, 0), (3, 5), (len(layout.queries), 1), (vectors.shape[0] - 1, DIMENSION - 1)]:
        moved = []
        for sign in (1, -1):
            shifted = vectors.clone()
            shifted[row, column] += sign * width
            moved.append(loss_and_gradient(shifted, layout.contrasts, objective, layout.total_rows).loss)
        assert (moved[0] - moved[1]) / (2 * width) == pytest.approx(exact[row, column].item(), rel=1e-5, abs=1e-8)


def test_negatives_are_counted_by_hand() -> None:
    settings = settings_for()
    examples, batch = drawn(settings)
    texts = set(batch.groups.reshape(-1).tolist())
    by_hand = [
        len(texts - set(examples.never_negatives[query].tolist()) - {int(group[0])})
        for query, group in zip(batch.queries, batch.groups, strict=True)
    ]
    assert fast_and_slow(settings, 0)[4] == pytest.approx(sum(by_hand) / len(by_hand))
    assert fast_and_slow(settings_for(use_inbatch_neg=False), 0)[4] == 3
    unmasked = settings_for(mask_false_negatives=False)
    assert fast_and_slow(unmasked, 0)[4] == 4 * len(drawn(unmasked)[1].queries) - 1
    assert fast_and_slow(settings_for(false_negative_margin=0.1), 0)[4] < sum(by_hand) / len(by_hand)


def test_a_source_apart_neither_has_nor_gives_in_batch_negatives() -> None:
    settings = settings_for(no_inbatch_sources=["b"])
    examples, batch = drawn(settings)
    source = np.array(examples.sources)[examples.source[batch.queries]]
    assert set(source) == {"a", "b"}
    texts = set(batch.groups[source == "a"].reshape(-1).tolist())
    by_hand = [
        len(texts - set(examples.never_negatives[query].tolist()) - {int(group[0])}) if name == "a" else 3
        for query, group, name in zip(batch.queries, batch.groups, source, strict=True)
    ]
    assert fast_and_slow(settings, 0)[4] == pytest.approx(sum(by_hand) / len(by_hand))
    assert fast_and_slow(settings_for(no_inbatch_sources=["a", "b"]), 0)[4] == 3


def test_m3_loss_does_not_depend_on_the_order_of_negatives() -> None:
    torch.manual_seed(0)
    vectors = functional.normalize(torch.randn(30, 8, dtype=torch.float64), dim=1)
    own = torch.stack([torch.arange(4) + 4 * row for row in range(5)])
    teacher = torch.randn(5, 4, dtype=torch.float64)
    order = [0, 3, 1, 2]

    def value(own: Tensor, teacher: Tensor) -> float:
        contrast = ContrastiveRows(
            torch.arange(5), torch.arange(20) + 5, own, torch.empty(0, 2, dtype=torch.long), teacher
        )
        return loss_and_gradient(vectors, [contrast], LossConfig(0.1, M3Distillation()), 5).loss

    assert value(own, teacher) == pytest.approx(value(own[:, order], teacher[:, order]), rel=1e-12)


def test_excluded_pairs_get_no_gradient() -> None:
    torch.manual_seed(0)
    vectors = functional.normalize(torch.randn(6, 8), dim=1)
    contrast = ContrastiveRows(
        torch.tensor([0]), torch.tensor([1, 2, 3, 4, 5]), torch.tensor([[0, 1]]), torch.tensor([[0, 3], [0, 4]])
    )
    outcome = loss_and_gradient(vectors, [contrast], LossConfig(0.05), 1)
    assert outcome.negatives == 2
    assert torch.equal(outcome.gradient[4:], torch.zeros(2, 8))
    assert outcome.gradient[3].abs().sum() > 0


@pytest.mark.model
def test_first_loss_equals_sentence_transformers(tiny_model: object) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import losses

    theirs = SentenceTransformer(str(tiny_model)).eval()
    queries = [f"question {word} {number}" for number, word in enumerate(["sun", "moon", "stone", "bread", "milk"])]
    columns = [
        [f"{kind} passage {number} about water and {kind}" for number in range(5)] for kind in ("old", "new", "cold")
    ]
    features = [
        theirs.preprocess(texts) if hasattr(theirs, "preprocess") else theirs.tokenize(texts)
        for texts in [queries, *columns]
    ]
    reference = losses.MultipleNegativesRankingLoss(theirs, scale=1 / 0.02)(features, None).item()

    vectors = torch.from_numpy(theirs.encode([*queries, *(text for column in columns for text in column)]))
    own = torch.stack([torch.arange(5), torch.arange(5) + 5, torch.arange(5) + 10], dim=1)
    contrast = ContrastiveRows(torch.arange(5), torch.arange(15) + 5, own, torch.empty(0, 2, dtype=torch.long))
    assert loss_and_gradient(vectors, [contrast], LossConfig(0.02), 5).loss == pytest.approx(reference, abs=1e-4)


class _Largest(TorchDispatchMode):
    """Numbers of the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, (tuple, list)) else (found,):
            # an expanded or transposed tensor is another one's memory
            if isinstance(one, Tensor):
                self.numbers = max(self.numbers, one.untyped_storage().nbytes() // one.element_size())
        return found


@pytest.mark.parametrize("in_batch", [True, False])
def test_blocks_bound_what_is_held_at_once(monkeypatch: pytest.MonkeyPatch, in_batch: bool) -> None:
    rows, group, texts, dimension, block = 600, 8, 200, 16, 4_096
    monkeypatch.setattr(loss_module, "BLOCK_ENTRIES", block)
    torch.manual_seed(0)
    embeddings = functional.normalize(torch.randn(rows + texts, dimension), dim=1)
    groups = torch.stack([torch.randperm(texts)[:group] for _ in range(rows)])
    places = groups if in_batch else torch.arange(rows * group).reshape(rows, group)
    columns = torch.arange(texts) if in_batch else groups.reshape(-1)
    contrast = ContrastiveRows(
        torch.arange(rows), columns + rows, places, torch.empty(0, 2, dtype=torch.long), in_batch=in_batch
    )
    with _Largest() as largest:
        loss_and_gradient(embeddings, [contrast], LossConfig(0.05), rows)
    # the embeddings and their gradient, or a block; never all rows with their groups
    assert largest.numbers <= max((rows + texts) * dimension, block) < rows * group * dimension
