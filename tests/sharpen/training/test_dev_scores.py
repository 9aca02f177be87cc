"""The file of a training's dev scores: figures of each query are those of the best step, or not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sharpen.training.watching.dev_scores import DevScoreFile, DevScores, dev_score_file


def write(file: DevScoreFile, *scores: tuple[int, list[float]]) -> None:
    for step, values in scores:
        file.keep(np.array(values))
        file.report(step, 9, float(np.mean(values)))


def read(address: str) -> DevScores:
    found = DevScores.read(address)
    assert found is not None
    return found


def test_values_are_those_of_the_best_step_after_the_start(tmp_path: Path) -> None:
    address = str(tmp_path / "scores.json")
    write(dev_score_file(address, "model", "data", ["a", "b", "a"]), (0, [0.9, 0.9, 0.9]), (3, [0.2, 0.4, 0.1234567]))
    assert read(address).best_values == [0.2, 0.4, 0.123457] and read(address).groups == [0, 1, 0]
    file = dev_score_file(address, "model", "data", ["a", "b", "a"])
    write(file, (3, [0.2, 0.2, 0.2]), (6, [0.5, 0.3, 0.1]), (9, [0.3, 0.3, 0.1]))
    assert (read(address).values_of, read(address).best_values) == (6, [0.5, 0.3, 0.1])


def test_a_training_that_goes_on_keeps_what_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_RUN_ID", "run")
    address, groups = str(tmp_path / "scores.json"), ["a", "b"]
    write(dev_score_file(address, "model", "data", groups), (0, [0.1, 0.1]), (3, [0.5, 0.7]), (6, [0.2, 0.2]))
    again = dev_score_file(address, "model", "data", groups)
    # from its checkpoint it knows the scores alone
    for step, score in ((0, 0.1), (3, 0.6)):
        again.report(step, 9, score)
    write(again, (6, [0.3, 0.3]))
    assert (read(address).values_of, read(address).best_values) == (3, [0.5, 0.7])
    write(again, (9, [0.9, 0.9]))
    assert read(address).best_values == [0.9, 0.9]


def test_values_that_are_not_of_the_best_step_are_not_given(tmp_path: Path) -> None:
    address = str(tmp_path / "scores.json")
    file = dev_score_file(address, "model", "data", ["a", "b"])
    # known from elsewhere
    file.report(3, 9, 0.8)
    write(file, (6, [0.1, 0.1]))
    assert read(address).best_values == []
