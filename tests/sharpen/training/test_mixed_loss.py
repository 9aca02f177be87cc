"""The loss of each task of a mixed run, from texts one by one and the definition, and its gradient by autograd."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sharpen.distributed import ProcessGroup
from sharpen.models.encoder import Encoder
from sharpen.training.data.examples import Examples
from sharpen.training.data.sampler import Batch
from tests.sharpen.training.gradients import MIXED, mixed_step, one, prepared, settings_of
from tests.sharpen.training.mixed_data import mixed_data
from tests.sharpen.training.test_processes import assert_same_gradient

pytestmark = pytest.mark.model


def embedded(encoder: Encoder, text: str, kind: str, prompt: str | None) -> Tensor:
    ids = encoder.tokenize([text], kind, prompt=prompt)  # type: ignore[arg-type]
    return encoder(**encoder.pad(ids), kind=kind)[0].double()


def similarity_loss(batch: Batch, examples: Examples, encoder: Encoder, temperature: float) -> Tensor:
    """log(1 + sum of exp(s_j - s_i)) over pairs of pairs, with labels from the tables."""
    data = mixed_data()
    source = examples.tasks[batch.task].source
    queries = data.queries.filter(source=source)
    asked = dict(queries.select("text", "query_id").iter_rows())
    names = dict(data.corpus.select("text", "passage_id").iter_rows())
    labels = {(query, passage): label for query, passage, label, _ in data.similarity_labels.iter_rows()}
    scores, values = [], []
    for query, [text] in zip(batch.queries.tolist(), batch.groups.tolist(), strict=True):
        first, second = examples.queries[query], examples.texts[text]
        one_side, other = (embedded(encoder, side, "passage", "") for side in (first, second))
        scores.append(one_side @ other / temperature)
        values.append(labels[asked[first], names[second]])
    terms = [
        (low - high).exp()
        for high, above in zip(scores, values, strict=True)
        for low, below in zip(scores, values, strict=True)
        if above > below
    ]
    return torch.stack([torch.ones((), dtype=torch.float64), *terms]).sum().log()


def label_loss(batch: Batch, examples: Examples, encoder: Encoder, temperature: float) -> Tensor:
    """Mean cross-entropy of each text with its positive against the texts of the batch without a label of its own."""
    source = examples.tasks[batch.task].source
    table = mixed_data().queries.filter(source=source)
    labels: dict[str, set[str]] = {}
    for text, label in table.select("text", "label").iter_rows():
        labels.setdefault(text.lower(), set()).add(label)
    columns = sorted(set(batch.groups.reshape(-1).tolist()))
    texts = {column: embedded(encoder, examples.texts[column], "passage", "") for column in columns}
    losses = []
    for query, group in zip(batch.queries.tolist(), batch.groups.tolist(), strict=True):
        vector = embedded(encoder, examples.queries[query], "passage", "")
        mine = labels[examples.queries[query].lower()]
        others = [c for c in columns if not mine & labels[examples.texts[c].lower()]]
        scores = torch.stack([vector @ texts[column] / temperature for column in (group[0], *others)])
        losses.append(scores.logsumexp(0) - scores[0])
    return torch.stack(losses).mean()


@pytest.mark.parametrize("name", [name for name, (learns, _) in MIXED.items() if learns != "search"])
def test_loss_and_gradient_are_the_definition(cased_model: Path, name: str) -> None:
    settings, _ = settings_of(name)
    encoder = prepared(str(cased_model), settings)
    examples, batch = mixed_step(name, settings)
    by_definition = similarity_loss if examples.tasks[batch.task].learns == "similarity" else label_loss
    loss = by_definition(batch, examples, encoder, settings.temperature)
    loss.backward()
    gradient = [torch.zeros_like(p).reshape(-1) if p.grad is None else p.grad.reshape(-1) for p in encoder.parameters()]
    alone = one(str(cased_model), name, ProcessGroup())
    assert alone["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert_same_gradient(alone["gradient"], torch.cat(gradient).numpy())
