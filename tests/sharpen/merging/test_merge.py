"""Merged weights against arithmetic on whole state dicts, and what cannot be merged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sharpen.errors import InputError
from sharpen.merging.merge import merge
from sharpen.merging.report import render_page
from sharpen.merging.settings import MergingSettings
from sharpen.merging.weights import check_same, write_merged
from sharpen.models.encoder import Encoder
from sharpen.models.weights import WeightFiles
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from tests.sharpen.models.tiny_models import add_dense, make_model

pytestmark = pytest.mark.model
WINDOWS = {"passage_windows": "max", "window_overlap": 8}
Tune = Callable[..., Path]


@pytest.fixture(scope="module")
def base(tiny_model: Path, tuned_from: Tune) -> Path:
    return tuned_from(tiny_model, 0)


@pytest.fixture(scope="module")
def tuned(base: Path, tuned_from: Tune) -> list[Path]:
    return [tuned_from(base, seed) for seed in (1, 2)]


def run(tuned: Sequence[Path], output: Path, base: Path | None = None, **settings: Any) -> dict[str, Any]:
    chosen = MergingSettings.checked(settings)
    return merge([str(one) for one in tuned], str(output), chosen, base=str(base or ""))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def lm_cocktail(folders: Sequence[Path], coefficients: Sequence[float]) -> dict[str, np.ndarray]:
    """``mix_models`` of LM-Cocktail in float64: for each weight the sum of coefficient x weight."""
    states = [weights(folder) for folder in folders]
    return {
        name: np.sum(
            [value * state[name].double().numpy() for value, state in zip(coefficients, states, strict=True)], axis=0
        )
        for name in states[0]
    }


@pytest.mark.parametrize(
    ("settings", "coefficients"),
    [
        ({"weights": [0.3]}, [0.7, 0.3]),
        ({"method": "average"}, [0.5, 0.5]),
        ({"method": "average", "weights": [3, 1]}, [0.75, 0.25]),
        ({"method": "task_arithmetic", "weights": [0.8, 0.5]}, [-0.3, 0.8, 0.5]),
        ({"method": "task_arithmetic", "weights": [-0.5, 1.25]}, [0.25, -0.5, 1.25]),
    ],
)
def test_every_weight_is_the_sum_of_lm_cocktail(
    settings: dict[str, Any], coefficients: list[float], base: Path, tuned: list[Path], tmp_path: Path
) -> None:
    several = tuned if len(settings.get("weights", [1, 1])) > 1 else tuned[:1]
    averaged = settings.get("method") == "average"
    facts = run(several, tmp_path / "merged", base, **settings)
    expected = lm_cocktail([*([] if averaged else [base]), *several], coefficients)
    found = weights(tmp_path / "merged")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].numpy(), value, rtol=1e-5, atol=1e-7, err_msg=name)
    assert [model["coefficient"] for model in facts["models"]] == pytest.approx(coefficients)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_ends_of_interpolation_are_the_two_models_to_the_bit(
    weight: float, base: Path, tuned: list[Path], tmp_path: Path
) -> None:
    run(tuned[:1], tmp_path / "merged", base, weights=[weight])
    model = (base, tuned[0])[int(weight)]
    assert (tmp_path / "merged" / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()


def test_the_result_is_used_as_the_tuned_model(base: Path, tuned_from: Tune, tmp_path: Path) -> None:
    tuned = tuned_from(base, 3, query_instruction_for_retrieval="query: ", passage_max_len=20)
    facts = run([tuned], tmp_path / "merged", base, weights=[0.5])
    assert [note.split("(")[1].split(")")[0] for note in facts["notes"]] == [
        'prompts query "query: ", passage "" and query "", passage ""',
        "max lengths query 16, passage 20 and query 16, passage 24",
    ]
    assert storage.is_complete(str(tmp_path / "merged"))
    merged, parent = (Encoder.load(str(folder), EncoderSettings.checked({})) for folder in (tmp_path / "merged", tuned))
    assert (merged.prompts, merged.pooling, merged.named_prompts) == (
        parent.prompts,
        parent.pooling,
        parent.named_prompts,
    )
    assert json.loads((tmp_path / "merged" / "merging.json").read_text()) == json.loads(json.dumps(facts))
    card = (tmp_path / "merged" / "README.md").read_text()
    assert "## Merging" in card and f"| `{tuned}` | tuned | 0.5 |" in card and "- merge" in card


@pytest.mark.parametrize("shards", ["several files", "other names", "half"])
def test_weights_in_other_forms(shards: str, base: Path, tuned: list[Path], tmp_path: Path) -> None:
    """A base in several files, one whose weights a head has renamed, and one in half precision."""
    other, state = tmp_path / "base", weights(base)
    shutil.copytree(base, other)
    (other / "model.safetensors").unlink()
    if shards == "several files":
        names = sorted(state)
        parts = {f"model-{n}-of-2.safetensors": {name: state[name] for name in names[n::2]} for n in (0, 1)}
        for name, part in parts.items():
            save_file(part, other / name, {"format": "pt"})
        index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
        (other / "model.safetensors.index.json").write_text(json.dumps(index))
    elif shards == "other names":
        renamed = {f"bert.{name}": value for name, value in state.items()}
        save_file({**renamed, "cls.predictions.bias": torch.zeros(3)}, other / "model.safetensors", {"format": "pt"})
    else:
        state = {name: value.half() for name, value in state.items()}
        save_file(state, other / "model.safetensors", {"format": "pt"})
    run(tuned[:1], tmp_path / "merged", other, weights=[0.25])
    for name, value in weights(tmp_path / "merged").items():
        torch.testing.assert_close(value, 0.75 * state[name].float() + 0.25 * weights(tuned[0])[name])
        assert value.dtype == torch.float32


def test_two_towers_take_the_one_of_their_base(base: Path, tmp_path: Path) -> None:
    encoder = Encoder.load(str(base), EncoderSettings.checked({}))
    encoder.untie()
    with torch.no_grad():
        for weight in encoder.query_model.parameters():
            weight += 1.0
    encoder.save(tmp_path / "towers")
    run([tmp_path / "towers"], tmp_path / "merged", base, weights=[0.5])
    found = Encoder.load(str(tmp_path / "merged"), EncoderSettings.checked({}))
    for kind, more in (("passage", 0.0), ("query", 0.5)):
        for name, value in found.towers[kind].state_dict().items():  # type: ignore[index]
            torch.testing.assert_close(value, encoder.model.state_dict()[name] + more)


def changed(folder: Path, target: Path, name: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a model with other values in one of its JSON files."""
    shutil.copytree(folder, target)
    values = json.loads((target / name).read_text())
    change(values)
    (target / name).write_text(json.dumps(values))
    return target


def test_what_cannot_be_merged_is_one_line_each(base: Path, tuned: list[Path], tmp_path: Path) -> None:
    def faults(*others: Path, against: Path | None = base, **settings: Any) -> list[str]:
        with pytest.raises(InputError) as raised:
            run([tuned[0], *others], tmp_path / "merged", against, **{"weights": [0.5], **settings})
        return raised.value.faults

    heads = changed(base, tmp_path / "heads", "config.json", lambda values: values.update(num_attention_heads=4))
    pooled = changed(base, tmp_path / "pooled", "config_sharpen.json", lambda values: values.update(pooling="cls"))
    prompted = changed(tuned[1], tmp_path / "p", "config_sharpen.json", lambda values: values.update(query_prompt="q:"))
    (line,) = faults(against=heads)
    assert "num_attention_heads of their configurations is 2 and 4" in line and str(heads) in line
    (line,) = faults(against=pooled)
    assert "pooling mean and cls" in line
    (line,) = faults(prompted, method="average", weights=[1, 1])
    assert "prompts" in line and "used alike" in line
    other = make_model(tmp_path / "roberta", "roberta")
    assert any("vocabularies" in line for line in faults(against=other))
    assert faults(against=None) == [
        "merging: interpolation needs the base model that the others were tuned from; name it"
    ]
    assert faults(weights=[]) == ["merging: to find a weight, name data with dev queries; or set merging.weights"]
    assert len(faults(tuned[1])) == 2  # two models, one weight
    windowed = changed(tuned[1], tmp_path / "w", "config_sharpen.json", lambda values: values.update(WINDOWS))
    (line,) = faults(windowed, method="average", weights=[1, 1])
    assert "windows none and max of windows of 24 tokens that share 8; merge models that are used alike" in line
    assert not (tmp_path / "merged" / "merging.json").exists()


def test_a_base_that_is_used_otherwise_is_named_in_notes(base: Path, tuned: list[Path], tmp_path: Path) -> None:
    """Windows of one that Sharpen wrote, and lengths of one that it did not."""
    windowed = changed(tuned[0], tmp_path / "windowed", "config_sharpen.json", lambda values: values.update(WINDOWS))
    other = changed(
        base, tmp_path / "other", "sentence_bert_config.json", lambda values: values.update(max_seq_length=9)
    )
    (other / "config_sharpen.json").unlink()
    notes = run([windowed], tmp_path / "merged", other, weights=[0.5])["notes"]
    assert [note.split("(")[1].split(")")[0] for note in notes] == [
        "max lengths query 16, passage 24 and query 9, passage 9",
        "windows max of windows of 24 tokens that share 8 and none",
    ]
    assert json.loads((tmp_path / "merged" / "config_sharpen.json").read_text())["passage_windows"] == "max"


def test_what_nobody_asked_for_and_cannot_be_passes_the_tuned_model_on(
    base: Path, tuned: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heads = changed(base, tmp_path / "heads", "config.json", lambda values: values.update(num_attention_heads=4))
    given = (
        [str(tuned[0])],
        str(tmp_path / "passed"),
        MergingSettings.checked({"weights": [0.5]}),
    )
    facts = merge(*given, base=str(heads), requested=False)
    assert not facts["merged"] and facts["weight"] == 1.0
    assert facts["models"] == [{**facts["models"][0], "role": "tuned", "address": str(tuned[0]), "coefficient": 1.0}]
    assert "num_attention_heads of their configurations is 2 and 4" in facts["reason"]
    assert facts["reason"] in caplog.text and json.loads((tmp_path / "passed" / "merging.json").read_text()) == facts
    files = {path.relative_to(tuned[0]) for path in tuned[0].rglob("*") if path.is_file()}
    assert all((tmp_path / "passed" / name).read_bytes() == (tuned[0] / name).read_bytes() for name in files)
    assert storage.is_complete(str(tmp_path / "passed"))
    assert "Not merged" in (page := render_page(facts)) and "num_attention_heads" in page
    # a fault of the user's is one all the same
    with pytest.raises(InputError, match="no such folder"):
        merge([str(tuned[0])], str(tmp_path / "no"), given[2], base=str(tmp_path / "nobody"), requested=False)


def test_weights_of_other_shapes_and_other_whole_numbers_are_refused(tmp_path: Path) -> None:
    def files(name: str, **tensors: torch.Tensor) -> WeightFiles:
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
        return WeightFiles.of_folder(name, tmp_path / name)

    one = files("one", a=torch.zeros(2, 3), steps=torch.tensor([1]))
    wide = files("wide", a=torch.zeros(2, 4), steps=torch.tensor([1]))
    few, later = files("few", a=torch.zeros(2, 3)), files("later", a=torch.zeros(2, 3), steps=torch.tensor([2]))
    with pytest.raises(InputError) as raised:
        check_same(["a", "steps"], [one, wide, few])
    assert [line.split(";")[0] for line in raised.value.faults] == [
        "wide: a is 2 x 4, but 2 x 3 in one",
        "few: lacks 1 of the 2 weights of one, such as steps",
    ]
    with pytest.raises(InputError, match=r"later: steps \(whole numbers\) differs from that of one"):
        write_merged(tmp_path / "merged.safetensors", ["a", "steps"], [one, later], [0.5, 0.5])
    write_merged(tmp_path / "merged.safetensors", ["a", "steps"], [one, one], [0.5, 0.5])
    assert load_file(tmp_path / "merged.safetensors")["steps"].tolist() == [1]


def test_settings_that_contradict_each_other() -> None:
    for given, fault in (
        ({"weights": [1.5]}, "1.5 is not between 0 and 1"),
        ({"weights": [0.1, 0.2]}, "one tuned model"),
        ({"method": "average", "weights": [0, 0]}, "above 0"),
        ({"search_weights": "0.2,-1"}, "-1 is not between"),
    ):
        with pytest.raises(InputError, match=fault):
            MergingSettings.checked(given)
    assert MergingSettings.checked({"search_weights": "0.5"}).search_weights == (0.0, 0.5, 1.0)


def test_dense_modules_are_merged_too(tmp_path: Path, tuned_from: Tune) -> None:
    plain = make_model(tmp_path / "plain", "bert")
    base = add_dense(plain, {"in_features": 32, "out_features": 24}, {"in_features": 24, "out_features": 8})
    tuned = tuned_from(base, 5)
    facts = run([tuned], tmp_path / "merged", base, weights=[0.25])
    for module in ("2_Dense", "3_Dense"):
        found = weights(tmp_path / "merged" / module)
        expected = lm_cocktail([base / module, tuned / module], [0.75, 0.25])
        assert found.keys() == expected.keys() == {"linear.weight", "linear.bias"}
        for name, value in expected.items():
            np.testing.assert_allclose(found[name].numpy(), value, rtol=1e-5, atol=1e-7)
    assert [len(model["weights_sha256"]) for model in facts["models"]] == [3, 3]
    merged = Encoder.load(str(tmp_path / "merged"), EncoderSettings.checked({}))
    assert merged.dimension == 8
    config = tuned / "3_Dense" / "config.json"
    config.write_text(config.read_text().replace("Tanh", "GELU"))
    with pytest.raises(InputError, match="their Dense modules differ"):
        run([tuned], tmp_path / "no", base, weights=[0.25])
