"""The losses once more, from their definitions: one number at a time, in float64, on texts and not on matrices.

Nothing here is shared with the code under test except the drawn batch: what is never a negative is decided once more
from the strings of the data. Gradients come from autograd.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import torch
from torch import Tensor

from sharpen.data.dataset import DataSet
from sharpen.training.data.examples import Examples
from sharpen.training.data.sampler import Batch
from sharpen.training.settings import TrainingSettings

Vectors = dict[tuple[str, int], Tensor]
Never = Callable[[int, int], bool]


def plain(text: str) -> str:
    """Without case, width and superfluous space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def never_negative(data: DataSet, examples: Examples) -> Never:
    """(query, text), both as numbered in the examples -> whether the text is never a negative of the query."""
    passages = {passage_id: plain(text) for passage_id, text in data.corpus.select("passage_id", "text").iter_rows()}
    asked = {row["query_id"]: plain(row["text"]) for row in data.queries.iter_rows(named=True)}

    def never(query: int, text: int) -> bool:
        question, passage = plain(examples.queries[query]), plain(examples.texts[text])
        judged = (
            asked[query_id] == question and passages[passage_id] == passage and grade > 0
            for query_id, passage_id, grade, _ in data.qrels.iter_rows()
        )
        return passage == question or any(judged)

    return never


def slow_loss(batch: Batch, data: DataSet, examples: Examples, vectors: Vectors, settings: TrainingSettings) -> Tensor:
    """Mean loss of a batch.

    Args:
        batch: rows of queries and texts.
        data: says what is relevant to what.
        examples: the strings behind the numbers, and teacher scores.
        vectors: ("query", number) and ("text", number) -> embedding.
        settings: what is minimised.
    """
    whole = next(iter(vectors.values())).shape[0]
    of_size, _, precision = settings.served_size.removeprefix("dim:").partition("+")
    served = int(of_size) if of_size.isdecimal() else 0
    precision = precision or ("" if served else of_size)
    dims: list[tuple[int, str]] = [(dim, "") for dim in {*settings.matryoshka_dims, whole, served or whole}]
    dims += [(served or whole, precision)] if precision else []
    total = torch.zeros((), dtype=torch.float64)
    never = never_negative(data, examples)
    for dim, stored in dims:
        cut = {key: vector[:dim] / vector[:dim].norm() for key, vector in vectors.items()}
        if stored:
            cut = _stored(cut, stored)
        for row, query in enumerate(batch.queries.tolist()):
            loss, distilled = _row(row, batch, never, examples, cut, settings)
            if settings.symmetric and not _alone(query, examples, settings):
                loss = (loss + _back(row, batch, never, examples, cut, settings)) / 2
            loss = settings.infonce_weight * loss + distilled
            total = total + loss / (len(batch.queries) * len(dims))
    return total


def _stored(vectors: Vectors, precision: str) -> Vectors:
    """Passages as they are stored, with the gradient that they would have if they were not."""
    largest = max(abs(x) for (kind, _), vector in vectors.items() if kind == "text" for x in vector.tolist())
    found = dict(vectors)
    for (kind, number), vector in vectors.items():
        if kind == "text" and precision == "int8":
            values = [round(127 * x / largest) * largest / 127 for x in vector.tolist()]
        elif kind == "text":
            values = [(1 if x > 0 else -1) / len(vector) ** 0.5 for x in vector.tolist()]
        else:
            continue
        found[kind, number] = vector + (torch.tensor(values, dtype=torch.float64) - vector).detach()
    return found


def _alone(query: int, examples: Examples, settings: TrainingSettings) -> bool:
    """Whether a query, its passages included, takes no part in in-batch negatives."""
    return not settings.use_inbatch_neg or examples.sources[examples.source[query]] in settings.no_inbatch_sources


def _row(
    row: int, batch: Batch, never: Never, examples: Examples, vectors: Vectors, settings: TrainingSettings
) -> tuple[Tensor, Tensor]:
    """The contrastive loss of a row, or what replaces it, and what distillation adds to it."""
    nothing = torch.zeros((), dtype=torch.float64)
    query, group = int(batch.queries[row]), batch.groups[row].tolist()
    columns: list[int] = []
    for other, texts in enumerate(batch.groups.tolist()):
        for text in texts:
            if other == row or _alone(query, examples, settings):
                continue
            if _alone(int(batch.queries[other]), examples, settings):
                continue
            if settings.mask_false_negatives and (text in columns or text in group or never(query, text)):
                continue
            columns.append(text)

    def score(text: int) -> Tensor:
        return vectors["query", _number(examples, query)] @ vectors["text", text]

    if settings.false_negative_margin is not None:
        columns = [t for t in columns if score(t) <= score(group[0]) + settings.false_negative_margin]
    own = [score(text) / settings.temperature for text in group]
    others = [score(text) / settings.temperature for text in columns]
    if not settings.knowledge_distillation:
        return _cross_entropy(own[0], own + others), nothing
    scores = dict(zip(examples.scored[query].tolist(), examples.scores[query].tolist(), strict=True))
    teacher = [scores.get(text, float("-inf")) for text in group]
    weights = torch.softmax(torch.tensor(teacher, dtype=torch.float64) / settings.teacher_temperature, dim=0)
    if settings.kd_loss_type == "kl_div":
        distilled = sum(weight * _cross_entropy(one, own) for weight, one in zip(weights, own, strict=True))
        return _cross_entropy(own[0], own + others), settings.kd_weight * torch.as_tensor(distilled)
    order = [0, *sorted(range(1, len(group)), key=lambda place: -teacher[place])]
    loss = torch.zeros((), dtype=torch.float64)
    for taken, place in enumerate(order):
        left = [own[rest] for rest in order[taken:]]
        loss = loss + weights[place] * _cross_entropy(own[place], left + others)
    return loss, nothing


def _back(
    row: int, batch: Batch, never: Never, examples: Examples, vectors: Vectors, settings: TrainingSettings
) -> Tensor:
    query, positive = int(batch.queries[row]), int(batch.groups[row, 0])
    columns: list[int] = []
    for other in batch.queries.tolist():
        number = _number(examples, other)
        if _alone(other, examples, settings):
            continue
        if settings.mask_false_negatives and (
            number in columns or number == _number(examples, query) or never(other, positive)
        ):
            continue
        if other != query:
            columns.append(number)

    def score(number: int) -> Tensor:
        return vectors["query", number] @ vectors["text", positive]

    own = score(_number(examples, query))
    if settings.false_negative_margin is not None:
        columns = [n for n in columns if score(n) <= own + settings.false_negative_margin]
    scores = [score(number) / settings.temperature for number in columns]
    return _cross_entropy(own / settings.temperature, [own / settings.temperature, *scores])


def _number(examples: Examples, query: int) -> int:
    return int(examples.query_number[query])


def _cross_entropy(target: Tensor, scores: list[Tensor]) -> Tensor:
    highest = max(score.item() for score in scores)
    total = sum(torch.exp(score - highest) for score in scores)
    return torch.log(torch.as_tensor(total)) + highest - target
