"""Any architecture: a step of training changes it, and the exported folder has the trained embeddings everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sharpen.distributed import ProcessGroup
from sharpen.embeddings.encoding import encode
from sharpen.errors import InputError
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.training.data.collator import shard_batch
from sharpen.training.data.tokens import Tokens
from sharpen.training.gradient.step import gradient_step
from sharpen.training.model.encoder_setup import check_fits, finish, set_up
from sharpen.training.objective import memory_of, objective_of
from sharpen.training.settings import TrainingSettings
from tests.sharpen.models.test_models import by_hand
from tests.sharpen.models.tiny_models import DECODERS, ENCODERS, POSITIONS, make_model
from tests.sharpen.training.small_data import parts

pytestmark = pytest.mark.model

TEXTS = ["sun moon river", "", "bread milk sugar salt town train winter", "stone bread " * 30]
ENCODER = EncoderSettings(
    query_max_len=40, passage_max_len=40, precision="fp32", query_instruction_for_retrieval="find text: "
)


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("kind", [*ENCODERS, *DECODERS])
def test_a_step_of_training_is_what_others_load(kind: str, checkpointed: bool, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    if checkpointed and kind == "mpnet":
        pytest.skip("transformers cannot recompute MPNet's layers")
    settings = TrainingSettings.checked(
        {"train_batch_size": 8, "train_group_size": 4, "gradient_checkpointing": checkpointed, "sub_batch_size": 5}
    )
    # Padded on the left by the base model's tokenizer, as decoders' are.
    encoder = Encoder.load(str(make_model(tmp_path / "base", kind, padding_side="left")), ENCODER, training=True)
    before = encode(encoder, TEXTS, "passage")
    set_up(encoder, settings)
    encoder.train()
    examples, batches = parts(settings)
    layout = shard_batch(batches.batch(0), Tokens(examples, encoder), settings, 0, 1)
    gradient_step(encoder, layout, objective_of(settings, normalize=True), memory_of(settings), ProcessGroup())
    without = [name for name, weights in encoder.named_parameters() if weights.grad is None]
    assert not without
    torch.optim.AdamW(encoder.parameters(), lr=1e-2).step()
    finish(encoder, settings)
    encoder.save(tmp_path / "out")

    trained = {name: encode(encoder, TEXTS, name) for name in ("query", "passage")}
    assert np.abs(trained["passage"] - before).max() > 1e-2
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    np.testing.assert_allclose(theirs.encode_query(TEXTS), trained["query"], atol=1e-5)
    np.testing.assert_allclose(theirs.encode_document(TEXTS), trained["passage"], atol=1e-5)
    prompted = by_hand(tmp_path / "out", [f"find text: {text}" for text in TEXTS], encoder.pooling)
    np.testing.assert_allclose(prompted, trained["query"], atol=1e-5)
    np.testing.assert_allclose(by_hand(tmp_path / "out", TEXTS, encoder.pooling), trained["passage"], atol=1e-5)


def test_recomputing_layers_that_a_model_cannot_recompute_is_told(tmp_path: Path) -> None:
    encoder = Encoder.load(str(make_model(tmp_path / "base", "mpnet")), ENCODER, training=True)
    check_fits(encoder, TrainingSettings(), "m")
    with pytest.raises(InputError, match="gradient_checkpointing: MPNetModel cannot"):
        check_fits(encoder, TrainingSettings(gradient_checkpointing=True), "m")


@pytest.mark.parametrize("kind", [*ENCODERS, *DECODERS])
def test_positions_that_shall_stay_are_found_or_told(kind: str, tmp_path: Path) -> None:
    settings = TrainingSettings(fix_position_embedding=True)
    encoder = Encoder.load(str(make_model(tmp_path / "base", kind)), ENCODER, training=True)
    if kind in ("modernbert", "qwen2", "llama", "mistral"):
        with pytest.raises(InputError, match=r"fix_position_embedding: \w+ has none"):
            check_fits(encoder, settings, "m")
        return
    check_fits(encoder, settings, "m")
    set_up(encoder, settings)
    frozen = [weights.shape for weights in encoder.parameters() if not weights.requires_grad]
    assert frozen == [(POSITIONS, 32)]


@pytest.mark.parametrize("kind", [*ENCODERS, *DECODERS])
def test_the_share_of_dropout_reaches_every_part(kind: str, tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", kind)
    for share in (None, 0.0):
        encoder = Encoder.load(str(base), ENCODER, training=True)
        set_up(encoder, TrainingSettings(dropout=share))
        encoder.train()
        batch = encoder.pad(encoder.tokenize(TEXTS, "passage"))
        assert torch.equal(encoder(**batch), encoder(**batch)) == (share == 0.0)
