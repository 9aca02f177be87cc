"""The findings as a section of an evaluation's report."""

from __future__ import annotations

from pathlib import Path

import pytest

from sharpen.diagnosis.explain import KINDS, NOTHING, Explanation, explain
from sharpen.diagnosis.report import with_causes
from sharpen.diagnosis.report.section import MARKER
from sharpen.evaluation.report.render import SCRIPT
from tests.sharpen.diagnosis.conftest import Sound
from tests.sharpen.diagnosis.findings import every_kind_of_finding
from tests.sharpen.diagnosis.test_edited_runs import edited
from tests.sharpen.reports.html_pages import HOSTILE, check_page


@pytest.mark.model
def test_a_runs_report_says_what_explain_says(sound: Sound) -> None:
    report = (Path(sound.run.evaluation) / "report.html").read_text(encoding="utf-8")
    assert report.count(MARKER) == 1
    explained = explain(edited(sound.run, training__settings__temperature=2.0, mining={}))
    assert explained.findings and explained.findings[0].changes
    text = check_page(with_causes(report, explained), SCRIPT)
    assert "What may hold this model back" in text
    for one in explained.findings:
        assert one.evidence[1:] in text and one.sure in text
        assert all(f"--set {change.assignment}" in text for change in one.changes)
    assert report.partition(MARKER)[0] == with_causes(report, explained).partition('<section id="causes">')[0]


def test_each_kind_stands_under_its_heading_and_texts_stay_texts() -> None:
    page = with_causes(f"<p>gains</p>{MARKER}", every_kind_of_finding())
    places = [
        page.index(text)
        for pair in zip(KINDS.values(), ("False neg", "Too few", "A prompt"), strict=True)
        for text in pair
    ]
    assert places == sorted(places)
    assert HOSTILE not in page and NOTHING not in page
    assert "fewer of them" in page and "Label more queries." in page and "Not looked at, as it is gone" in page


def test_where_nothing_is_found_it_says_so_and_an_older_report_stays_as_it_is() -> None:
    nothing = Explanation("better", [])
    assert NOTHING in with_causes(MARKER, nothing) and MARKER not in with_causes(MARKER, nothing)
    assert with_causes("<p>an older report</p>", nothing) == "<p>an older report</p>"
