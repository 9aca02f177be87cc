"""Curves of a training's log."""

from __future__ import annotations

import pytest

from sharpen.reports.training_curves import columns, short, smoothed, thin, training_curves


def test_logged_columns_survive_odd_records():
    records = [{"loss": 1.0}, {"step": 2, "loss": float("nan")}, {"step": 3, "loss": 0.5, "note": "x"}]
    assert columns(records) == {"loss": [(1.0, 1.0), (3.0, 0.5)]}
    line = [(float(i), 1.0) for i in range(1000)]
    assert len(thin(line)) <= 401
    assert thin(line)[-1] == line[-1]
    assert smoothed(line)[-1] == (999.0, pytest.approx(1.0))


def test_each_logged_value_is_drawn_once_and_what_was_not_logged_is_left_out():
    steps = [{"step": n, "loss": 2 / n, "learning_rate": 2e-5 / n, "grad_norm": 1.0} for n in range(1, 40)]
    dev = [{"step": n, "eval_dev_ndcg_at_10": 0.5 + n / 100} for n in (0, 20, 39)]
    drawn = training_curves({"log": [*steps, *dev]})
    assert [figure.heading for figure in drawn] == ["Training loss", "Dev split", "Learning rate", "Gradient norm"]
    assert "nDCG@10" in drawn[1].chart and ".890" in drawn[1].chart
    assert training_curves({"log": None}) == training_curves({}) == []
    assert (short(2e-5), short(0.5)) == ("2e−5", "0.5")
