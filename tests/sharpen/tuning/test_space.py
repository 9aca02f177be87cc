"""What may be searched: settings by their names, values by their own types and bounds; faults are a line each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sharpen.errors import InputError
from sharpen.training.settings import TrainingSettings
from sharpen.tuning.space.dimension import Dimension, of_yaml, parse
from sharpen.tuning.space.groups import REFUSED, field_of, names
from sharpen.tuning.space.search_space import default_space, kind_of_model, read_space
from tests.sharpen.tuning.synthetic import GROUPS


def test_ranges_and_values_are_read_from_texts_and_yaml(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(
        "training:\n  learning_rate: 1e-6..1e-4:log\n  train_group_size: [2, 4]\n"
        "training.temperature: {low: 0.01, high: 0.1}\nmining.relative_margin: [null, 0.05]\n"
    )
    found = {one.name: one for one in read_space(file, ["training.train_group_size=2..16"], GROUPS)}
    assert found["training.learning_rate"] == Dimension("training.learning_rate", 1e-6, 1e-4, log=True)
    assert found["training.train_group_size"] == Dimension("training.train_group_size", 2, 16, whole=True)
    assert found["training.temperature"] == Dimension("training.temperature", 0.01, 0.1)
    assert found["mining.relative_margin"].choices == (None, 0.05)
    for one in found.values():
        assert parse(f"{one.name}={one.described()}").values == one.values
    assert parse("mining.sampling=random,top").choices == ("random", "top")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("training.learning_rate", "write name=values"),
        ("training.lerning_rate=1..2", "did you mean training.learning_rate?"),
        ("training.learning_rate=1e-5..5", r"less than or equal to 1 \(given: 5"),
        ("training.learning_rate=1e-5..1e-6", "is empty"),
        ("training.learning_rate=a..b", "low is 'a', no number"),
        ("training.learning_rate=1e-5..1e-4:ln", "is no range"),
        ("training.shuffle_ratio=0..0.5:log", "begins above 0"),
        ("training.train_group_size=1.5,2", "valid integer"),
        ("training.train_group_size=2", "at least two different values"),
        ("mining.sampling=1..2", "is no number; give its values"),
        ("mining.sampling=top,best", "'random' or 'top'"),
        ("training.seed=1,2", "a seed that is best on dev is luck"),
        ("encoder.batch_tokens=64,128", "not its score"),
        ("data.test_share=0.1,0.2", "settings of training, mining and encoder"),
        ("training.lora_alpha=8,16", "no effect without lora_rank"),
    ],
)
def test_a_wrong_space_is_one_line(text: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault) as caught:
        read_space(None, [text], GROUPS)
    assert len(caught.value.faults) == 1


def test_every_fault_is_told_and_an_empty_space_is_one(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_space(None, ["training.learning_rate=2..3", "training.no=1,2", "mining.seed=x,y"], GROUPS)
    assert len(caught.value.faults) == 3
    with pytest.raises(InputError, match="nothing to search"):
        read_space(None, [], GROUPS)
    with pytest.raises(InputError, match="lowest is unknown"):
        of_yaml("training.temperature", {"lowest": 1, "high": 2})
    (tmp_path / "s.yaml").write_text("training: {temperature: true}\n")
    with pytest.raises(InputError, match="neither a range nor values"):
        read_space(tmp_path / "s.yaml", [], GROUPS)


def test_what_is_refused_exists_and_is_not_offered() -> None:
    assert all(field_of(name) for name in REFUSED)
    assert not REFUSED.keys() & set(names())


def test_the_default_space_goes_by_the_kind_of_model_and_leaves_out_what_has_no_effect(tmp_path: Path) -> None:
    spaces = {kind: default_space(kind, GROUPS) for kind in ("encoder", "decoder", "adapters")}
    rates = {kind: space[0].values for kind, space in spaces.items()}
    assert rates["decoder"][1] < rates["encoder"][1] < rates["adapters"][1]
    for kind, (low, high) in rates.items():
        # what a training has without a search is among what is searched
        assert low < TrainingSettings.checked({"lora_rank": 8 * (kind == "adapters")}).learning_rate < high
    wanted = ["learning_rate", "temperature", "train_group_size", "num_train_epochs", "relative_margin"]
    assert [one.name.partition(".")[2] for one in spaces["encoder"]] == wanted
    scores_themselves = {"training.loss": "margin_mse", "training.knowledge_distillation": True}
    bare = GROUPS.with_values({**scores_themselves, "training.max_steps": 5, "mining.enabled": False})
    assert [one.name for one in default_space("encoder", bare)] == ["training.learning_rate"]
    for config, kind in (
        ({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}, "decoder"),
        ({"architectures": ["MistralModel"], "model_type": "mistral"}, "decoder"),
        ({"architectures": ["BertModel"], "model_type": "bert"}, "encoder"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert kind_of_model(tmp_path, GROUPS) == kind
    assert kind_of_model(tmp_path, GROUPS.with_values({"training.lora_rank": 8})) == "adapters"
