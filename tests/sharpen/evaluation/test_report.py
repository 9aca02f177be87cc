"""The report: what it says, that it needs nothing else, and that nothing in the data can run in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from sharpen.evaluation.comparison import compare
from sharpen.evaluation.report import render_report
from sharpen.evaluation.report.examples import first_rank, is_code, shown
from sharpen.evaluation.report.figures import is_histogram
from sharpen.evaluation.report.provenance import Provenance
from sharpen.evaluation.report.render import SCRIPT, short_name, title
from sharpen.reports.formatting import flat, number, signed
from sharpen.settings import EncoderSettings
from tests.sharpen.evaluation.report_inputs import BACKGROUND, CODE, HOSTILE, SETTINGS, evaluated, judged_set
from tests.sharpen.reports.html_pages import check_page


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Name -> report: alone, against a base, against base and champion with everything there is to show."""
    folder = tmp_path_factory.mktemp("report")
    judged = judged_set()
    base = evaluated(folder / "base", judged, 1.0, 1)
    champion = evaluated(folder / "champion", judged, 2.4, 2)
    tuned = evaluated(folder / "tuned", judged, 2.5, 3)

    def page(references, background):
        comparison = compare(tuned, references, SETTINGS) if references else {}
        return render_report(tuned, references, comparison, judged, SETTINGS, EncoderSettings(), background)

    return {
        "alone": page({}, Provenance()),
        "base": page({"base": base}, Provenance()),
        "full": page({"base": base, "champion": champion}, BACKGROUND),
        "values": (tuned, base),
    }


class Tags(HTMLParser):
    """All tags with their attributes, and the visible text."""

    VOID = ("meta", "br", "img", "link", "input")

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.mark.parametrize("name", ["alone", "base", "full"])
def test_the_page_needs_nothing_and_runs_one_script(pages, name):
    parsed = Tags(pages[name])
    assert parsed.open == []  # every tag is closed, in order
    for tag, attributes in parsed.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        for attribute, value in attributes.items():
            assert not attribute.startswith("on"), (tag, attribute)
            assert attribute not in ("src", "href", "xlink:href", "action", "formaction", "background", "srcdoc")
            assert "javascript:" not in (value or "")
            assert "url(" not in (value or "")
    style = re.search(r"<style>(.*?)</style>", pages[name], re.DOTALL)
    assert style
    assert not re.search(r"url\(|@import|expression\(|https?:", style[1])
    check_page(pages[name], script=SCRIPT)


def test_hostile_text_is_shown_as_text(pages):
    page = pages["full"]
    assert page.count("<script") == 2
    assert "<img" not in page
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in page
    assert "{{ 7*7 }}" in Tags(page).text  # not read as a template
    assert page.count("</style>") == 1
    assert "<title>code &lt;b&gt;search&lt;/b&gt; · retrieval evaluation</title>" in page


def test_every_chart_has_a_name_for_screen_readers(pages):
    drawings = [a for tag, a in Tags(pages["full"]).tags if tag == "svg" and a.get("class", "").startswith("chart")]
    assert len(drawings) > 15
    assert all(a.get("role") == "img" and a.get("aria-label") for a in drawings)


def test_the_verdict_states_the_measured_figures(pages):
    tuned, base = pages["values"]
    before, after = base.metrics["ndcg_at_10"], tuned.metrics["ndcg_at_10"]
    text = Tags(pages["base"]).text
    assert f"nDCG@10 rose from {number(before)} to {number(after)} against the base model." in text
    assert signed(after - before) in text
    assert "40\N{NO-BREAK SPACE}queries" in pages["base"]


def test_sections_without_data_are_absent(pages):
    alone, base, full = (Tags(pages[name]).text for name in ("alone", "base", "full"))
    for heading in (
        "Training loss",
        "Dev split",
        "Hard negatives",
        "Merging with the base model",
        "Gain against forgetting",
        "Data",
        "Gain at a glance",
        "Queries that gained most",
    ):
        assert heading not in alone
        assert heading in full
    assert "Hardest queries" in alone
    assert "Hardest queries" not in base
    assert "Training loss" not in base
    assert "Tuned against champion" in full


def test_a_model_no_better_or_worse_is_told_as_such(tmp_path):
    judged = judged_set()
    good, bad = evaluated(tmp_path / "good", judged, 3.0, 1), evaluated(tmp_path / "bad", judged, 0.0, 2)
    for name, candidate, other, said in (
        ("base", bad, good, "fell from"),
        ("base", good, good, "the same as the base model's on every query"),
        ("bm25", bad, good, ", below bm25's ."),
        ("bm25", good, bad, ", above bm25's ."),
        ("bm25", good, good, "the same as bm25's on every query"),
    ):
        comparison = compare(candidate, {name: other}, SETTINGS)
        arguments = (candidate, {name: other}, comparison, judged, SETTINGS, EncoderSettings(), Provenance())
        assert said in Tags(render_report(*arguments)).text


def test_one_query_and_one_passage_are_enough(tmp_path):
    judged = judged_set(queries=1, passages=2)
    only = evaluated(tmp_path / "only", judged, 1.0, 1)
    comparison = compare(only, {"base": only}, SETTINGS)
    page = render_report(only, {"base": only}, comparison, judged, SETTINGS, EncoderSettings(), Provenance())
    assert "1\N{NO-BREAK SPACE}query" in page


def test_code_is_told_from_prose():
    assert is_code(CODE)
    assert is_code("SELECT a,\n  b,\n  c\nFROM t;")
    assert not is_code("A single line: with a colon;")
    assert not is_code("First paragraph of a text.\nSecond paragraph of it.\nThird one, longer than the others.")
    assert shown(CODE).folds
    assert shown(CODE).preview.count("\n") == 7
    assert not shown("short").folds
    assert len(shown("word " * 5000).whole) < 4_100


def test_the_title_tells_models_apart(pages):
    tuned, _ = pages["values"]
    assert title(tuned, Provenance(training={"base_model": "s3://b/m/bge-base"})) == "bge-base, fine-tuned"
    assert short_name("/site-packages/minilm/model/") == "minilm/model"
    assert short_name("BAAI/bge-m3") == "bge-m3"


def test_ranks():
    assert first_rank([("a", 2.0), ("b", 1.0)], {"b"}) == "2"
    assert first_rank([("a", 2.0)], {"b"}) == "> 1"


def test_any_figures_become_a_flat_table():
    assert flat(BACKGROUND.mining) == [
        ("dropped_by_rule.margin", "12"),
        ("dropped_by_rule.same_text", "3"),
        ("rules.1.rule", "margin"),
        ("rules.1.share", "0.5"),
    ]
    assert flat({}) == []
    nested = {"a": {"b": {"c": True, "d": None, "e": ["x", 1], "f": ""}}}
    assert flat(nested) == [
        ("a.b.c", "true"),
        ("a.b.d", "null"),
        ("a.b.e", '["x", 1]'),
        ("a.b.f", "–"),
    ]


def test_what_earlier_steps_left_is_drawn_where_it_can_be(pages):
    text = Tags(pages["full"]).text
    assert "margin 12 80.0 % same text 3 20.0 %" in text
    assert "train 100 90.9 % dev 10 9.1 %" in text
    labels = [a["aria-label"] for tag, a in Tags(pages["full"]).tags if a.get("class") == "chart"]
    assert "Scores of positives and negatives" in labels
    assert not is_histogram({"edges": [0, 1, float("nan")], "counts": [1, 2]})
    assert not is_histogram({"edges": [0, 1], "counts": [1, 2]})
    assert not is_histogram([])


@pytest.mark.parametrize("value", [None, 3, [], {}, {"train": 7}, {"train": {"queries": "x"}}, HOSTILE])
def test_odd_values_of_earlier_steps_are_not_drawn(tmp_path, value):
    names = ("splits", "dropped", "picked_by", "dropped_by_rule", "positive_scores", "negative_scores")
    odd = dict.fromkeys(names, value)
    judged = judged_set(queries=2, passages=3)
    only = evaluated(tmp_path / "only", judged, 1.0, 1)
    merging = {"searched": value, "notes": value, "reason": value, "metric": value}
    background = Provenance({"log": value}, odd, odd, merging)
    page = render_report(only, {}, {}, judged, SETTINGS, EncoderSettings(), background)
    assert "All figures" in check_page(page, script=SCRIPT)
