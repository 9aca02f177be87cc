"""Every loss of the table, through the score matrix, against sentence-transformers and finite differences."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as theirs
from torch import Tensor, nn
from torch.nn import functional

from sharpen.errors import InputError
from sharpen.losses import LOSSES, Loss, ScoreBlock, contrastive, make_loss
from sharpen.losses.contrastive import ContrastiveRows, LossConfig, LossOutput, loss_and_gradient

ROWS, GROUP, DIMENSION, TEMPERATURE = 9, 3, 6, 0.2
_NO_PAIRS = torch.empty(0, 2, dtype=torch.long)


class Hinge(Loss):
    """The example of `sharpen.losses.base`."""

    def __init__(self, margin: float = 5.0) -> None:
        self.margin = margin

    def __call__(self, block: ScoreBlock) -> Tensor:
        positive = block.group_scores[:, :1]
        return (block.scores - positive + self.margin).clamp(min=0).sum() - self.margin * len(positive)


class _Columns(nn.Module):
    """Stands for the model: features are the embeddings."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": features["x"]}


def unit(rows: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(rows, DIMENSION, generator=draw, dtype=torch.float64), dim=1)


@pytest.fixture
def data() -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings of queries, then of positives, then of each further column; the guide's; teacher scores (b, G)."""
    draw = torch.Generator().manual_seed(5)
    size = ROWS * (1 + GROUP)
    # few different labels, so that there are ties
    teacher = torch.randint(0, 4, (ROWS, GROUP), generator=draw).double() / 2
    return unit(size, 1), unit(size, 2), teacher


def ours(
    loss: Loss, vectors: Tensor, guide: Tensor | None, teacher: Tensor | None, rows: slice | None = None
) -> LossOutput:
    columns = torch.arange(ROWS * GROUP) + ROWS
    groups = torch.stack([torch.arange(ROWS) + ROWS * column for column in range(GROUP)], dim=1)
    part = rows or slice(None)
    contrast = ContrastiveRows(
        torch.arange(ROWS)[part], columns, groups[part], _NO_PAIRS, None if teacher is None else teacher[part]
    )
    return loss_and_gradient(vectors, [contrast], LossConfig(TEMPERATURE, loss), ROWS, guide)


def features(vectors: Tensor) -> list[dict[str, Tensor]]:
    return [{"x": part} for part in vectors.split(ROWS)]


def reference(name: str, vectors: Tensor, guide: Tensor, teacher: Tensor) -> Tensor:
    """The value as sentence-transformers computes it."""
    model: Any = _Columns()
    if name == "infonce":
        return theirs.MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)(features(vectors), None)
    if name == "kl_div":
        kl = theirs.DistillKLDivLoss(
            model, similarity_fct=_dot, temperature=1.0, student_temperature=TEMPERATURE, teacher_temperature=2.0
        )(features(vectors), teacher)
        # theirs is scaled by the squared temperature, and has the teacher's entropy, a constant
        entropy = torch.special.entr((teacher / 2).softmax(dim=1)).sum(dim=1).mean()
        return 0.3 * reference("infonce", vectors, guide, teacher) + 0.7 * (kl / TEMPERATURE**2 + entropy)
    if name == "margin_mse":
        return theirs.MarginMSELoss(model, similarity_fct=_dot)(features(vectors), teacher / 4)
    if name == "cosent":
        columns = vectors.split(ROWS)
        pairs = [{"x": columns[0].repeat(GROUP, 1)}, {"x": torch.cat(columns[1:])}]
        return theirs.CoSENTLoss(model, scale=1 / TEMPERATURE)(pairs, teacher.T.reshape(-1))
    raise AssertionError(name)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(dim=-1)


def tangent(gradient: Tensor, vectors: Tensor) -> Tensor:
    """At right angles to the vectors: sentence-transformers scales to length 1 once more."""
    return gradient - (gradient * vectors).sum(dim=1, keepdim=True) * vectors


ARGUMENTS = {
    "kl_div": {"kd_weight": 0.7, "infonce_weight": 0.3, "teacher_temperature": 2.0},
    "m3_kd_loss": {"teacher_temperature": 2.0},
    "margin_mse": {"teacher_temperature": 4.0},
    "gist_embed": {"margin": 0.05},
}


@pytest.mark.parametrize("name", ["infonce", "kl_div", "margin_mse", "cosent"])
def test_equals_sentence_transformers(name: str, data: tuple[Tensor, Tensor, Tensor]) -> None:
    vectors, guide, teacher = data
    leaf = vectors.clone().requires_grad_()
    value = reference(name, leaf, guide, teacher)
    (gradient,) = torch.autograd.grad(value, leaf)
    found = ours(make_loss(name, ARGUMENTS.get(name, {})), vectors, guide, teacher)
    assert found.loss == pytest.approx(value.item(), rel=1e-9)
    torch.testing.assert_close(tangent(found.gradient, vectors), tangent(gradient, vectors), rtol=1e-7, atol=1e-10)


@pytest.mark.model
@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_gist_embed_equals_sentence_transformers(
    tiny_model: object, margin: float, data: tuple[Tensor, Tensor, Tensor]
) -> None:
    vectors, guide, _ = data
    vectors, guide = vectors[: 3 * ROWS], guide[: 3 * ROWS]
    model = SentenceTransformer(str(tiny_model))
    loss = theirs.GISTEmbedLoss(
        model, model, temperature=TEMPERATURE, margin=margin, contrast_anchors=False, contrast_positives=False
    )
    loss.must_retokenize = False
    turn = iter([vectors.clone().requires_grad_(), guide])
    leaf: list[Tensor] = []

    def columns(_: Any, given: Any) -> list[Tensor]:
        leaf.append(next(turn))
        return list(leaf[-1].split(ROWS))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sentence_transformers.sentence_transformer.losses.gist_embed.embed_columns", columns)
        value = loss(features(vectors), torch.empty(0))
    (gradient,) = torch.autograd.grad(value, leaf[0])
    rows = torch.arange(ROWS)
    contrast = ContrastiveRows(rows, torch.arange(2 * ROWS) + ROWS, torch.stack([rows, rows + ROWS], dim=1), _NO_PAIRS)
    objective = LossConfig(TEMPERATURE, make_loss("gist_embed", {"margin": margin}))
    found = loss_and_gradient(vectors, [contrast], objective, ROWS, guide)
    assert found.loss == pytest.approx(value.item(), rel=1e-9)
    torch.testing.assert_close(tangent(found.gradient, vectors), tangent(gradient, vectors), rtol=1e-7, atol=1e-10)
    assert 0 < found.negatives < ROWS * (2 * ROWS - 1)


@pytest.mark.parametrize("name", [*LOSSES, "hinge"])
@pytest.mark.parametrize("entries", [contrastive.BLOCK_ENTRIES, 60])
def test_gradient_equals_finite_differences_in_any_blocks(
    name: str, entries: int, data: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrastive, "BLOCK_ENTRIES", entries)
    vectors, guide, teacher = data
    loss = Hinge() if name == "hinge" else make_loss(name, ARGUMENTS.get(name, {}))
    exact, width = ours(loss, vectors, guide, teacher), 1e-6
    for row, column in [(0, 0), (ROWS, 1), (2 * ROWS + 3, 2), (4 * ROWS - 1, DIMENSION - 1)]:
        moved = []
        for sign in (1, -1):
            shifted = vectors.clone()
            shifted[row, column] += sign * width
            moved.append(ours(loss, shifted, guide, teacher).loss)
        assert (moved[0] - moved[1]) / (2 * width) == pytest.approx(exact.gradient[row, column].item(), abs=1e-7)


@pytest.mark.parametrize("name", [name for name, kind in LOSSES.items() if not kind.whole_batch])
def test_rows_may_be_cut_anywhere(name: str, data: tuple[Tensor, Tensor, Tensor]) -> None:
    vectors, guide, teacher = data
    loss = make_loss(name, {})
    whole = ours(loss, vectors, guide, teacher)
    parts = [ours(loss, vectors, guide, teacher, rows) for rows in (slice(0, 4), slice(4, ROWS))]
    assert sum(part.loss for part in parts) == pytest.approx(whole.loss, rel=1e-12)
    torch.testing.assert_close(parts[0].gradient + parts[1].gradient, whole.gradient)


def test_what_the_teacher_did_not_score_is_left_out(data: tuple[Tensor, Tensor, Tensor]) -> None:
    vectors, _, teacher = data
    teacher[2, 1] = teacher[4, 1:] = -torch.inf
    scores = torch.einsum("bd,gbd->bg", vectors[:ROWS], vectors[ROWS:].reshape(GROUP, ROWS, -1))
    known = [(scores[row, column].item(), teacher[row, column].item()) for row, column in (teacher > -9).nonzero()]
    cosent = 1 + sum(math.exp((low - high) / TEMPERATURE) for low, a in known for high, b in known if a < b)
    assert ours(make_loss("cosent", {}), vectors, None, teacher).loss == pytest.approx(math.log(cosent), rel=1e-10)
    margin_mse = 0.0
    for row in range(ROWS):
        errors = [
            (scores[row, 0] - scores[row, column] - teacher[row, 0] + teacher[row, column]).item() ** 2
            for column in range(1, GROUP)
            if teacher[row, column] > -9
        ]
        margin_mse += sum(errors) / max(1, len(errors)) / ROWS
    assert ours(make_loss("margin_mse", {}), vectors, None, teacher).loss == pytest.approx(margin_mse, rel=1e-10)


def test_cosent_without_a_teacher_ranks_positives_above_negatives(data: tuple[Tensor, Tensor, Tensor]) -> None:
    vectors, _, teacher = data
    labels = torch.zeros_like(teacher)
    labels[:, 0] = 1
    loss = make_loss("cosent", {})
    assert ours(loss, vectors, None, None).loss == ours(loss, vectors, None, labels).loss


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("no.such:Loss", {}, "cannot be imported"),
        ("math:tau", {}, "does not take"),
        ("collections:OrderedDict", {}, "no subclass"),
        ("gist_embed", {"margn": 1}, "margn"),
    ],
)
def test_a_loss_that_cannot_be_made_is_one_line(name: str, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_loss(name, arguments)


def test_a_loss_must_return_one_number(data: tuple[Tensor, Tensor, Tensor]) -> None:
    class Rows(Loss):
        def __call__(self, block: ScoreBlock) -> Tensor:
            return block.scores.logsumexp(dim=1)

    with pytest.raises(InputError, match="return their sum"):
        ours(Rows(), data[0], None, None)
