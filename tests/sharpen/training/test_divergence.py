"""A loss that is not finite stops before the weights are touched, and says where to look."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sharpen.distributed import ProcessGroup
from sharpen.models.encoder import Encoder
from sharpen.training.data.collator import shard_batch
from sharpen.training.data.tokens import Tokens
from sharpen.training.divergence import DivergenceError, check_finite
from sharpen.training.gradient.step import Step, gradient_step
from sharpen.training.objective import memory_of, objective_of
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from tests.sharpen.losses.test_contrastive import _NoTokens
from tests.sharpen.training.small_data import ENCODER, parts, small_data

pytestmark = pytest.mark.model


def test_names_the_texts_and_gives_advice(tiny_model: Path) -> None:
    settings = TrainingSettings(train_batch_size=4, train_group_size=3)
    encoder = Encoder.load(str(tiny_model), ENCODER, device="cpu")
    examples, batches = parts(settings)
    layout = shard_batch(batches.batch(0), Tokens(examples, encoder), settings, 0, 1)
    good = gradient_step(encoder, layout, objective_of(settings, normalize=True), memory_of(settings), ProcessGroup())
    check_finite(good, 1.0, layout, examples)

    broken = good.embeddings.clone()
    broken[1, 0] = torch.nan
    name = examples.query_ids[layout.queries[1]]
    with pytest.raises(DivergenceError, match=f"1 of {len(broken)} embeddings are not finite, such as query {name}"):
        check_finite(Step(float("nan"), 1.0, broken), 1.0, layout, examples)
    with pytest.raises(
        DivergenceError, match=r"most extreme scores: query q\d+ .* with passage p\d+ .*raise temperature"
    ):
        check_finite(good, float("inf"), layout, examples)


@pytest.mark.parametrize("in_batch", [True, False])
def test_finds_the_pair_whichever_process_contrasts_it(in_batch: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process 1 of 2 is told of a pair of process 0, of an in-batch one too, by ids and texts."""
    from sharpen.training import divergence

    # several blocks
    monkeypatch.setattr(divergence, "BLOCK_ENTRIES", 40)
    settings = TrainingSettings(train_batch_size=8, train_group_size=3, use_inbatch_neg=in_batch)
    examples, batches = parts(settings)
    layout = shard_batch(batches.batch(0), _NoTokens(examples), settings, 1, 2)  # type: ignore[arg-type]
    rows = len(layout.queries) + len(layout.texts)
    embeddings = torch.nn.functional.normalize(torch.randn(rows, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    # the first row's query and a passage of the last row's group alone, or of its own
    query, group = int(layout.query_of[0]), layout.text_of[-1 if in_batch else 0].tolist()
    text = next(one for one in group if (layout.text_of == one).sum() == 1)
    embeddings[query] *= 100
    embeddings[text] = -embeddings[query]
    # a pair that nobody contrasts without in-batch negatives
    embeddings[int(layout.text_of[3, 1])] = embeddings[query] * (0.5 if in_batch else 10)
    numbers = int(layout.queries[query]), int(layout.texts[text - len(layout.queries)])
    names = f'query {examples.query_ids[numbers[0]]} "{examples.queries[numbers[0]]}"'
    names += f' with passage {examples.text_ids[numbers[1]]} "{examples.texts[numbers[1]]}" (-1e+04)'
    with pytest.raises(DivergenceError) as told:
        check_finite(Step(1.0, 1.0, embeddings), float("inf"), layout, examples)
    assert f"most extreme scores: {names}" in str(told.value)


def test_a_long_text_is_cut() -> None:
    from sharpen.training.divergence import BEGINNING, _name

    settings = TrainingSettings(train_batch_size=4, train_group_size=3)
    examples, batches = parts(settings)
    layout = shard_batch(batches.batch(0), _NoTokens(examples), settings, 0, 1)  # type: ignore[arg-type]
    examples.queries = ["a  long\ntext " * 20] * len(examples)
    shown = _name(0, layout, examples).split('"')[1]
    assert shown.startswith("a long text a long") and shown.endswith("…")
    assert len(shown) == BEGINNING


def test_training_stops_before_the_weights_move(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sharpen.training import contrastive

    def poisoned(encoder: Encoder, *rest: object) -> Step:
        found = gradient_step(encoder, *rest)  # type: ignore[arg-type]
        parameter = next(p for p in encoder.parameters() if p.grad is not None)
        before.append(torch.cat([p.detach().reshape(-1).clone() for p in encoder.parameters()]))
        models.append(encoder)
        if len(before) == 3:
            assert parameter.grad is not None
            parameter.grad[0] = torch.inf
        return found

    before: list[torch.Tensor] = []
    models: list[Encoder] = []
    monkeypatch.setattr(contrastive, "gradient_step", poisoned)
    settings = TrainingSettings(
        train_batch_size=8, train_group_size=3, warmup_steps=0, checkpoint_folder=str(tmp_path / "kept")
    )
    with pytest.raises(DivergenceError, match="diverged at step 3"):
        train_on(tmp_path, settings, tiny_model)
    after = torch.cat([p.detach().reshape(-1) for p in models[-1].parameters()])
    assert torch.equal(after, before[-1])
    assert not torch.equal(before[0], before[1])
    assert not (tmp_path / "out").exists()


def train_on(folder: Path, settings: TrainingSettings, model: Path) -> None:
    from sharpen.store import storage

    with storage.publish(str(folder / "set"), producer="test", run_id="") as place:
        small_data().save(place)
    train(str(folder / "set"), None, str(model), str(folder / "out"), settings, ENCODER)
