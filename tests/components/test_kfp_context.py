"""Where a step's output goes, and how a step ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.kfp_context import exit_on_error, output_uri
from sharpen import exit_status
from sharpen.errors import InputError, StepFailed
from sharpen.run_context import RUN_VARIABLE, run_id
from sharpen.version import code_version


def test_bulk_lies_beside_the_artifact_where_kfp_copies_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUN_VARIABLE, "s3://b/runs/r1")
    assert output_uri("s3://root/x/data", "data_prep") == "s3://root/x/files/data"
    assert output_uri("s3://root/x/data?endpoint=e", "data_prep") == "s3://root/x/files/data?endpoint=e"
    assert output_uri("/local/x/data", "data_prep") == "s3://b/runs/r1/data_prep"
    assert run_id() == "r1"
    monkeypatch.delenv(RUN_VARIABLE)
    with pytest.raises(StepFailed, match=RUN_VARIABLE):
        output_uri("/local/x/data", "data_prep")


@pytest.mark.parametrize(("error", "code"), [(InputError("bad"), 2), (StepFailed("died"), 1), (OSError(28, "full"), 1)])
def test_a_step_ends_with_the_exit_code_of_its_failure(
    error: Exception, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(exit_status.VARIABLE, str(tmp_path / "told.json"))
    with pytest.raises(SystemExit) as ended, exit_on_error("mining"):
        raise error
    told = exit_status.read_exit_status(tmp_path / "told.json")
    assert ended.value.code == code
    assert told is not None
    assert (told.step, told.exit_code, len(told.lines)) == ("mining", code, 1)


def test_a_defect_is_told_and_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(exit_status.VARIABLE, str(tmp_path / "told.json"))
    with pytest.raises(ZeroDivisionError), exit_on_error("mining"):
        _ = 1 / 0
    expected = exit_status.ExitStatus("mining", 1, ["ZeroDivisionError: division by zero"])
    assert exit_status.read_exit_status(tmp_path / "told.json") == expected


def test_the_code_version_is_stable() -> None:
    assert code_version() == code_version()
    assert "+" in code_version()
