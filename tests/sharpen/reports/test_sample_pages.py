"""Every page for Kubeflow's UI: whole, safe, with a heading, and readable in a narrow side panel."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import BROWSER, measure
from tests.chromium_tab import AXE, Tab, serious
from tests.sharpen.reports.html_pages import check_page
from tests.sharpen.reports.sample_pages import LONG, sample_pages


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return sample_pages(tmp_path_factory.mktemp("pages"))


def test_foreign_texts_stay_text_on_every_page(pages: dict[str, str]) -> None:
    for name, page in pages.items():
        text = check_page(page)
        assert "<h1>" in page, name
        assert "ndcgat10" not in text and "nDCG_at_10" not in text
    assert "<script>alert(1)</script>" in check_page(pages["promoted"])


@pytest.mark.skipif(not BROWSER, reason="needs Chromium")
def test_no_page_is_wider_than_its_frame_or_asks_for_anything(pages: dict[str, str], tmp_path: Path) -> None:
    for seen in measure(pages, (360, 1000), tmp_path):
        assert "violated" not in seen, seen
        assert seen["fetched"] == [] and seen["heading"] and seen["text"] > 20, seen
        assert seen["scrolls"] <= seen["width"] and seen["wide"] == [], seen


@pytest.mark.skipif(not (BROWSER and AXE.exists()), reason="needs Chromium and axe-core: make axe")
def test_axe_finds_nothing_serious_on_any_page(pages: dict[str, str], tmp_path: Path) -> None:
    with Tab(tmp_path) as tab:
        for name, page in pages.items():
            tab.open(page, 360, script="free")
            assert not (found := serious(tab.axe())), (name, found)


def test_the_training_page_has_its_curves_and_what_it_was_trained_on(pages: dict[str, str]) -> None:
    text = check_page(pages["training"])
    for heading in ("Training loss", "Dev split", "Learning rate"):
        assert heading in text
    assert "12:34 on 2 processes, cuda" in text
    assert "2 → 0.1001 first and last loss" in text and ".500 → .588 nDCG@10 on dev, best at step 350" in text
    assert f"hard negatives {LONG}" in text and f"logs of every pod {LONG}-logs" in text
    assert "hard negatives none" in check_page(pages["training without a log"])
    assert "How it went" not in pages["training without a log"]


def test_the_data_page_has_counts_a_split_and_lengths(pages: dict[str, str]) -> None:
    text = check_page(pages["data"])
    assert "200 queries" in text and "1 rows quarantined" in text and "QUARANTINED: 1 of 201 rows" in text
    assert pages["data"].count("<rect") == 40
    assert "Characters of queries" in pages["data"] and "Characters of passages" in pages["data"]


def test_the_index_page_says_how_a_query_is_asked(pages: dict[str, str]) -> None:
    text = check_page(pages["index"])
    assert "256 of 384 dimensions, stored as int8" in text
    assert "scaled to length 1, cut to its first 256 dimensions, scaled to length 1 again" in text
    assert "int8 (this index) 256 0.9910 0.9900" in text
    assert "Not measured (quality_queries 0)." in check_page(pages["index without quality"])
