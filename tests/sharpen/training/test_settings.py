"""Settings that contradict each other are refused before any work."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sharpen.errors import InputError
from sharpen.settings import EncoderSettings
from sharpen.training.settings import TrainingSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": 0}, "temperature"),
        ({"train_group_size": 0}, "train_group_size"),
        ({"train_group_size": 1, "use_inbatch_neg": False}, "no negatives without use_inbatch_neg"),
        ({"train_group_size": 1, "train_batch_size": 1}, "leave no negatives"),
        ({"train_group_size": 1, "no_inbatch_sources": ["a"]}, "need train_group_size 2"),
        ({"train_group_size": 1, "knowledge_distillation": True}, "needs train_group_size 2"),
        ({"temprature": 0.05}, "did you mean temperature"),
        ({"early_stopping_patience": 2}, "needs eval_steps"),
        ({"matryoshka_dims": [8, 8]}, "every dimension once"),
        ({"average_checkpoints": 3}, "a save_total_limit at least as large"),
        ({"average_checkpoints": 2, "save_steps": 0}, "needs save_steps"),
        ({"average_checkpoints": 2, "eval_steps": 5}, "average_checkpoints needs eval_steps 0"),
        ({"max_steps": 0}, "trains nothing"),
        ({"symmetric": True, "use_inbatch_neg": False}, "needs use_inbatch_neg"),
        ({"knowledge_distillation": True, "kd_loss_type": "m3_kd_loss", "kd_weight": 0.5}, "no effect with m3_kd_loss"),
        ({"knowledge_distillation": True, "kd_loss_type": "m3_kd_loss", "infonce_weight": 0.5}, "no effect with m3_kd"),
        ({"loss": "cosent", "knowledge_distillation": True, "teacher_temperature": 2}, "no effect with cosent"),
        ({"teacher_temperature": 2}, "teacher_temperature has no effect with infonce"),
        ({"loss": "my.module:Loss", "knowledge_distillation": True, "kd_weight": 2}, "no effect with my.module:Loss"),
        ({"save_total_limit": 1}, "save_total_limit"),
        ({"source_temperature": 0.5}, "source_temperature"),
        ({"no_inbatch_sources": ["a"], "use_inbatch_neg": False}, "no effect with use_inbatch_neg false"),
        ({"no_inbatch_sources": ["a", "a"]}, "name every source once"),
    ],
)
def test_refused(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingSettings.checked(values, where="training.")


def test_every_setting_has_a_sentence() -> None:
    for name, field in TrainingSettings.model_fields.items():
        assert field.description and field.description.endswith((".", ")", ";")), name
        assert len(field.description) < 140, name


def test_temperature_rule() -> None:
    from sharpen.training.train import with_temperature_rule

    raw = EncoderSettings(normalize_embeddings=False)
    assert with_temperature_rule(TrainingSettings(), raw).temperature == 1.0
    assert with_temperature_rule(TrainingSettings(temperature=1.0), raw).temperature == 1.0
    assert with_temperature_rule(TrainingSettings(temperature=0.05), EncoderSettings()).temperature == 0.05
    with pytest.raises(InputError, match="set temperature to 1"):
        with_temperature_rule(TrainingSettings(temperature=0.02), raw)


def test_face_and_settings_import_no_torch() -> None:
    code = (
        "import sys, sharpen.training.settings, components.finetuning.component, components.finetuning.__main__;"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"loss": "margin"}, "one of infonce"),
        ({"loss": "margin_mse"}, "set knowledge_distillation to true"),
        ({"loss": "infonce", "knowledge_distillation": True}, "no effect with loss infonce"),
        ({"loss": "gist_embed"}, "needs guide_model"),
        ({"guide_model": "m"}, "no effect with loss infonce"),
        ({"loss": "margin_mse", "knowledge_distillation": True, "temperature": 0.1}, "temperature has no effect"),
        ({"loss": "cosent", "symmetric": True}, "symmetric has no effect"),
        ({"loss": "cosent", "train_group_size": 1}, "needs train_group_size 2"),
    ],
)
def test_what_a_loss_does_not_heed_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        TrainingSettings.checked(values)


def test_loss_follows_distillation() -> None:
    assert TrainingSettings().loss_name == "infonce"
    assert TrainingSettings(knowledge_distillation=True).loss_name == "kl_div"
    assert TrainingSettings(knowledge_distillation=True, kd_loss_type="m3_kd_loss").loss_name == "m3_kd_loss"
    assert TrainingSettings(loss="my.module:Loss", knowledge_distillation=True).loss_name == "my.module:Loss"


def test_the_rate_that_nobody_set_goes_by_what_is_trained() -> None:
    plain, adapters = TrainingSettings.checked({}), TrainingSettings.checked({"lora_rank": 8})
    assert (plain.learning_rate, adapters.learning_rate) == (2e-5, 1e-4)
    assert TrainingSettings.checked({"lora_rank": 8, "learning_rate": 2e-5}).learning_rate == 2e-5
    # what is recorded has it, what was given has not: settings that are made from these have a default of their own
    assert adapters.model_dump(mode="json")["learning_rate"] == 1e-4
    given = adapters.model_dump(exclude_unset=True)
    assert given == {"lora_rank": 8}
    assert TrainingSettings.checked(given | {"lora_rank": 0}).learning_rate == 2e-5
    assert adapters.model_copy(update={"temperature": 0.1}).learning_rate == 1e-4
    assert TrainingSettings.from_json(adapters.model_dump_json()) == adapters
