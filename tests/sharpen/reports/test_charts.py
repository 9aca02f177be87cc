"""Charts and how numbers are written in them."""

from __future__ import annotations

import re

import pytest

from sharpen.reports.charts import count_table, histogram
from sharpen.reports.formatting import interval, label, number, p_text, plain, signed
from sharpen.reports.svg import Scale, el, nice_ticks, spread


def test_numbers_for_people():
    assert (number(0.5312), number(1.0), number(-0.0123), number(0)) == (".531", "1.000", "−.012", ".000")
    assert (signed(0.103), signed(-0.2), signed(0.0001), signed(-0.0001)) == ("+.103", "−.200", "±.000", "±.000")
    assert interval(-0.1, 0.1) == "−.100 … +.100"
    assert (p_text(0.0001), p_text(0.034)) == ("< .001", ".034")
    assert (plain(12345), plain(0.12345), plain(-3), plain(2e-5)) == ("12,345", "0.1235", "−3", "2e−05")
    assert (label("ndcg_at_10"), label("hit_rate_at_1"), label("map")) == ("nDCG@10", "Hit rate@1", "MAP")


def test_ticks_enclose_the_values():
    assert nice_ticks(0, 1, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert nice_ticks(0.42, 0.87, 4) == [0.4, 0.6, 0.8, 1.0]
    assert nice_ticks(3, 3)
    assert Scale(1, 100, log=True)(10) == pytest.approx(0.5)


def test_labels_are_moved_apart():
    moved = spread([10.0, 12.0, 100.0], 20, 0, 110)
    assert moved[1] - moved[0] >= 20
    assert max(moved) <= 110


def test_elements_are_escaped():
    assert str(el("text", "<b>", class_='x"y', stroke_width=1.50)) == (
        '<text class="x&#34;y" stroke-width="1.5">&lt;b&gt;</text>'
    )


def test_bars_of_a_histogram_are_shares_of_their_own_series():
    edges = [0.0, 0.5, 1.0]
    first, second = {"edges": edges, "counts": [3, 1]}, {"edges": edges, "counts": [0, 8]}
    drawn = str(histogram("Scores", [("few", "positive", first), ("many", "negative", second)], height=100))
    bars = re.findall(r'<rect x="([.0-9]+)%" width="[.0-9]+%" y="([.0-9]+)" height="([.0-9]+)"', drawn)
    assert [float(height) for *_, height in bars] == [75, 25, 0, 100]
    assert all(float(y) + float(height) == 100 for _, y, height in bars)
    assert "few: 3 (75.0%) between 0 and 0.5" in drawn
    assert histogram("None", [("none", "positive", {"edges": edges, "counts": [0, 0]})])


def test_a_count_table_states_counts_and_shares():
    drawn = str(count_table([("<b>", 1200, 0.125), ("rate", None, 0.5)], "picked"))
    assert '<th scope="row">&lt;b&gt;</th><td class="num">1,200</td><td class="num">12.5 % picked</td>' in drawn
    assert "width:50.00%" in drawn
    assert "none" in count_table([])
