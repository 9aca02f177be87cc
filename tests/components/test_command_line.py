"""A step's command line made from its settings, and the exit codes."""

from __future__ import annotations

import errno
from pathlib import Path

import click
import pytest
from pydantic import Field

from components import command_line
from sharpen.errors import GateRejected, InputError, SharpenError, StepFailed
from sharpen.settings import SettingsModel


class Place(SettingsModel):
    data: str = Field(description="Address of the data.")


class Knobs(SettingsModel):
    train_group_size: int = Field(8, ge=2, description="Passages of a query.")
    cross_device: bool = Field(True, description="Negatives of all processes.")
    dims: list[int] = Field([], description="Dimensions.")
    margin: float | None = Field(0.1, description="Margin.")


def build(seen: list[tuple[Place, Knobs]]) -> click.Command:
    return command_line.step_command("tryout", "Try.", [Place, Knobs], lambda a, b: seen.append((a, b)))


def test_underscores_and_dashes_are_the_same_option() -> None:
    seen: list[tuple[Place, Knobs]] = []
    for spelling in ("--train_group_size", "--train-group-size"):
        command_line.main(build(seen), ["--data", "d", spelling, "4"])
    assert [knobs.train_group_size for _, knobs in seen] == [4, 4]


def test_values_are_parsed_as_their_fields_say() -> None:
    seen: list[tuple[Place, Knobs]] = []
    command_line.main(build(seen), ["--data", "d", "--cross_device", "false", "--dims", "[32, 64]", "--margin", "none"])
    assert seen[0][1] == Knobs(train_group_size=8, cross_device=False, dims=[32, 64], margin=None)


def test_help_shows_default_and_bounds() -> None:
    text = " ".join(build([]).get_help(click.Context(build([]))).split())
    assert "Passages of a query. [default: 8; >= 2]" in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data", "d", "--train_group_size", "1"], "--train_group_size: Input should be greater than or equal to 2"),
        (["--data", "d", "--cross_device", "maybe"], "--cross_device: Input should be a valid boolean"),
        ([], "data"),
        (["--data", "d", "--nonsense", "1"], "nonsense"),
    ],
)
def test_wrong_arguments_end_with_exit_code_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main(build([]), arguments)
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert told in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (InputError(["a.jsonl:7: bad", "b: worse"]), 2, "error: a.jsonl:7: bad\nerror: b: worse\n"),
        (StepFailed("the job died"), 1, "error: the job died\n"),
        (SharpenError("no"), 1, "error: no\n"),
        (GateRejected("not better"), 3, "error: not better\n"),
        (
            OSError(errno.EACCES, "Permission denied", "/root/x"),
            2,
            "error: /root/x: cannot be used here (Permission denied)\n",
        ),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "x"),
            2,
            "error: x: cannot be used here (File name too long)\n",
        ),
        (RuntimeError("No space left on device"), 1, "error: no space left while writing output: free some space\n"),
        (OSError(errno.ENOSPC, "full", "/data/x"), 1, "error: no space left while writing /data/x: free some space\n"),
    ],
)
def test_each_kind_of_failure_has_its_exit_code_and_no_traceback(
    error: Exception, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        command_line.run(fail)
    assert ended.value.code == code
    assert capsys.readouterr().err == told


def test_a_defect_of_ours_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.run(lambda: [][1])  # type: ignore[arg-type,return-value]
    assert ended.value.code == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_first_child_that_fails_tells_the_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sharpen import exit_status

    monkeypatch.setenv(exit_status.VARIABLE, str(tmp_path / "outcome.json"))
    exit_status.write_exit_status("mining", 2, ["first"])
    exit_status.write_exit_status("mining", 1, ["second"])
    told = exit_status.read_exit_status(tmp_path / "outcome.json")
    assert told == exit_status.ExitStatus("mining", 2, ["first"])
    assert [path.name for path in tmp_path.iterdir()] == ["outcome.json"]
