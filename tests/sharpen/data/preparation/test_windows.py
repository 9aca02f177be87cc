"""Windows from the user's files to the prepared data set, its statistics and its page; the day is a fixed one."""

from __future__ import annotations

import json
import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sharpen.data.dataset import DataSet
from sharpen.data.preparation.data_plan import DataPlan, NothingNew
from sharpen.data.preparation.page import read_page
from sharpen.data.preparation.prepare import STATISTICS, prepare
from sharpen.data.preparation.settings import DataSettings, SelectionSettings
from sharpen.data.source_settings import parse_sources
from sharpen.errors import InputError
from sharpen.store import storage
from tests.sharpen.data.input_files import pair, write_rows

TODAY = date(2026, 11, 29)


def day(before: int) -> str:
    return (TODAY - timedelta(days=before)).isoformat()


def prepared(output: Path, train_data: list[Any], **selection: Any) -> DataSet:
    settings = SelectionSettings.checked(selection)
    plan = DataPlan.of(settings, parse_sources(train_data), TODAY.isoformat)
    prepare(train_data, [], str(output), DataSettings.checked({"test_share": 0.2, "dev_share": 0}), plan)
    return DataSet.open(str(output))


def stats(output: Path) -> dict[str, Any]:
    return json.loads((output / STATISTICS).read_text())


def numbers(data: DataSet, split: str = "") -> set[int]:
    """What queries are in a data set, by the number in their text."""
    queries = data.queries_of(split) if split else data.queries
    return set(queries["text"].str.extract(r"(\d+)").cast(pl.Int64))


def test_the_time_of_each_query_decides(tmp_path: Path) -> None:
    # query n was put n days ago; the 30th day before the run is in
    rows = [pair(n, time=f"{day(n)}T00:00:00Z") for n in range(60)] + [pair(n) for n in range(60, 65)]
    path = str(write_rows(tmp_path / "a.jsonl", rows))
    assert numbers(prepared(tmp_path / "all", [path])) == {*range(65)}
    recent = prepared(tmp_path / "30d", [path], since="30d")
    assert numbers(recent) == {*range(31), *range(60, 65)}
    facts = stats(tmp_path / "30d")
    start = f"{day(30)}T00:00:00+00:00"
    assert facts["splitting"]["windows"] == {"30d": {"start": start, "inside": 36, "before": 29, "without_time": 5}}
    assert facts["dropped"]["queries_before_since"] == 29
    assert storage.read_manifest(str(tmp_path / "30d")).facts["moving"] is True
    page = read_page(str(tmp_path / "30d"))
    assert f"since 30d ({start}): 36 training queries, 29 are older; 5 have no time and are in it" in page
    # a date is the same window, and so is a source's own; what is in it does not move
    for name, train_data, selection in (
        ("date", [path], {"since": day(30)}),
        ("own", [{"address": path, "name": "a", "since": "30d"}], {"since": "3d"}),
    ):
        data = prepared(tmp_path / name, train_data, **selection)
        assert data.queries.select("query_id", "split").equals(recent.queries.select("query_id", "split")), name
    assert storage.read_manifest(str(tmp_path / "date")).facts["moving"] is False


@pytest.mark.parametrize("where", ["here", pytest.param("store", marks=pytest.mark.store)])
def test_older_files_are_not_read_but_to_be_replayed(
    tmp_path: Path, where: str, request: pytest.FixtureRequest
) -> None:
    root = str(tmp_path / "in") if where == "here" else f"{request.getfixturevalue('s3')}/windows/days"
    for n in range(20):
        row = [{"query": f"question {40 * n + k}?", "pos": [f"passage {40 * n + k}"]} for k in range(40)]
        lines = "".join(json.dumps(one) + "\n" for one in row)
        storage.write_bytes(storage.join(root, f"{day(n)}/rows.jsonl"), lines.encode())
    # one that is older cannot even be read
    storage.write_bytes(storage.join(root, f"{day(30)}/rows.jsonl"), b"{\n" * 9)
    recent = prepared(tmp_path / "recent", [root], since="4d")
    assert numbers(recent) == {*range(200)}
    assert stats(tmp_path / "recent")["splitting"]["files"] == {
        "4d": {"files": 21, "older": 16, "by_path": 21, "by_modification": 0}
    }
    assert "since 4d: of 21 files 16 are older, by the date in their path (21)" in read_page(str(tmp_path / "recent"))
    # the same as a user who names the files
    named = prepared(tmp_path / "named", [f"{root}/{day(n)}/rows.jsonl" for n in range(5)])
    assert named.queries.drop("source").equals(recent.queries.drop("source"))
    with pytest.raises(NothingNew, match="every file of train_data is older than 2027-01-01; bring newer data"):
        prepared(tmp_path / "none", [root], since="2027-01-01")
    storage.delete(storage.join(root, f"{day(30)}/rows.jsonl"))
    replayed = prepared(tmp_path / "replayed", [f"{root}/**/*.jsonl"], since="4d", replay_share=0.5)
    assert len(numbers(replayed, "train") - numbers(recent)) == len(numbers(replayed, "train")) / 2
    assert numbers(replayed, "test") == numbers(recent, "test")


def test_what_is_replayed_depends_on_content_and_seed_not_on_the_order_of_rows(tmp_path: Path) -> None:
    rows = [pair(n, time=f"{day(n // 10)}T12:00:00Z") for n in range(400)]
    rows[0]["pos"] = ["passage number 0", "another passage"]
    first = prepared(tmp_path / "1", [str(write_rows(tmp_path / "a.jsonl", rows))], since="9d", replay_share=0.4)
    random.Random(3).shuffle(rows)
    second = prepared(tmp_path / "2", [str(write_rows(tmp_path / "b.jsonl", rows))], since="9d", replay_share=0.4)
    assert first.queries.drop("source").equals(second.queries.drop("source"))
    assert first.qrels.equals(second.qrels)
    selected = stats(tmp_path / "1")["splitting"]["selected"]
    new, replayed = selected["new"], selected["replayed"]
    assert abs(replayed - 0.4 * (new + replayed)) <= 0.5
    train = numbers(first, "train")
    assert len([n for n in train if n >= 100]) == replayed and len(train) == replayed + len(
        [n for n in train if n < 100]
    )
    assert selected["left_out"] == 300 - replayed
    assert f"selected: {new} new examples and {replayed} of the others" in read_page(str(tmp_path / "1"))
    again = prepared(tmp_path / "3", [str(tmp_path / "a.jsonl")], since="8d", replay_share=0.4)
    # another day's draw is another one
    drawn = [{n for n in numbers(data, "train") if n >= 100} for data in (first, again)]
    assert len(drawn[0] & drawn[1]) < 0.6 * len(drawn[0])


def test_a_window_that_nothing_can_be_judged_by_is_refused(tmp_path: Path) -> None:
    path = str(write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(20)]))
    with pytest.raises(InputError, match="train_data: since is 30d, but none of its queries has a time; name"):
        prepared(tmp_path / "out", [path], since="30d")
    timed = str(write_rows(tmp_path / "b.jsonl", [pair(n, time=day(1)) for n in range(20, 40)]))
    own = {"address": path, "name": "a", "since": "30d"}
    with pytest.raises(InputError, match=r"a\.jsonl: since is 30d, but none of its queries has a time"):
        prepared(tmp_path / "out", [own, timed], since="30d")
    # where some have one, the others are in the window, and the statistics count them
    assert len(numbers(prepared(tmp_path / "out", [path, timed], since="30d"))) == 40
    with pytest.raises(NothingNew, match="no training query is as new as 2026-11-29; bring newer data"):
        prepared(tmp_path / "none", [timed], since="2026-11-29")
    with pytest.raises(InputError, match="replay_share: has no effect where neither since nor only_new"):
        prepared(tmp_path / "none", [timed], replay_share=0.5)
    with pytest.raises(InputError, match=r"eval_data: .*: weight, in_batch and since have no effect where nothing is"):
        prepare([timed], [own], str(tmp_path / "none"), DataSettings())
