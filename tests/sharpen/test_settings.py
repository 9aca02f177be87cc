"""Settings models: what is refused, and how it is told."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from sharpen.errors import InputError
from sharpen.settings import EncoderSettings, SettingsModel


class Inner(SettingsModel):
    depth: int = Field(3, ge=1, description="Depth.")


class Outer(SettingsModel):
    temperature: float = Field(0.02, gt=0, description="Temperature.")
    inner: Inner = Inner()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"temprature": 1}, "training.temprature: unknown setting; did you mean temperature?"),
        ({"inner": {"dept": 1}}, "training.inner.dept: unknown setting; did you mean depth?"),
        ({"zzz": 1}, "training.zzz: unknown setting; known: inner, temperature"),
        ({"temperature": 0}, "training.temperature: Input should be greater than 0 (given: 0)"),
        ({"temperature": "nan"}, "training.temperature: Input should be a finite number (given: 'nan')"),
        ({"inner": {"depth": "x"}}, "training.inner.depth: Input should be a valid integer"),
    ],
)
def test_a_fault_is_one_line_that_names_setting_and_value(values: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        Outer.checked(values, where="training.")
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith(line)


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        Outer.checked({"temperature": -1, "inner": {"depth": 0}, "other": 1})
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_json_that_is_no_object_is_the_users_fault(text: str) -> None:
    with pytest.raises(InputError, match="mining"):
        Outer.from_json(text, where="mining.")


def test_json_numbers_that_became_floats_are_integers_again() -> None:
    # Kubeflow turns every number in a JSON object into a float.
    assert Inner.from_json('{"depth": 4.0}').depth == 4
    with pytest.raises(InputError):
        Inner.from_json('{"depth": 4.5}')


@pytest.mark.parametrize("template", ["{}", "{}{}{}", "{a}{}", "{}{} end", "no slot"])
def test_an_instruction_format_that_a_saved_model_could_not_express_is_refused(template: str) -> None:
    with pytest.raises(InputError, match="query_instruction_format"):
        EncoderSettings.checked({"query_instruction_format": template})


def test_a_typed_newline_in_the_instruction_format_is_a_newline() -> None:
    settings = EncoderSettings.checked({"query_instruction_format": r"Instruct: {}\nQuery: {}"})
    assert settings.query_instruction_format == "Instruct: {}\nQuery: {}"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"inner": {"depth": "9" * 100_000}}, "training.inner.depth: Unable to parse input string as an integer"),
        ({"inner": {"depth": [["x" * 1000] * 1000] * 1000}}, "training.inner.depth: Input should be a valid integer"),
        ({"inner": {"depth": -(16**5000)}}, "training.inner.depth: Input should be greater than or equal to 1"),
        ({"x" * 100_000: 1}, "training.xxx"),
        ({"a\nb": 1}, r"training.a\nb: unknown setting"),
        ({"\udcff": 1}, "training."),
    ],
)
def test_what_is_huge_or_no_text_is_one_short_line(values: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        Outer.checked(values, where="training.")
    [line] = caught.value.faults
    assert line.startswith(told) and len(line) < 700 and "\n" not in line


@pytest.mark.parametrize("text", ["[" * 100_000, '{"temperature": 1, "temperature": 2}', "9" * 5000, "{"])
def test_settings_as_json_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match="not valid JSON") as caught:
        Outer.from_json(text)
    [line] = caught.value.faults
    assert len(line) < 300
