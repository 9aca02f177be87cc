"""`sharpen schedule` against an API that checks every request."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipeline.cluster.conftest import IMAGE, ON_THE_STORE, Sharpen
from tests.pipeline.cluster.fake_backend import Object
from tests.pipeline.cluster.fake_kfp import FakeKfp

RUNS = {
    "train_data": "s3://data/train.jsonl",
    "base_model": "BAAI/bge-small-en-v1.5",
    "store": "s3://models/sharpen",
}
NIGHTLY = {"name": "nightly", "cron": "0 2 * * *", "settings": RUNS}
WEEKLY = {"name": "weekly", "cron": "30 4 * * 7", "settings": {**RUNS, "training": {"max_steps": 500}}}


def write(folder: Path, *schedules: Object, **top: Any) -> str:
    """A file of schedules."""
    path = folder / "schedules.yaml"
    path.write_text(yaml.safe_dump({"image": IMAGE, **top, "schedules": list(schedules)}))
    return str(path)


def on_server(kfp: FakeKfp) -> dict[str, Object]:
    """name -> schedule; every name once."""
    found = {one["display_name"]: one for one in kfp.state.recurring.values()}
    assert len(found) == len(kfp.state.recurring)
    return found


def by_hand(kfp: FakeKfp, name: str) -> Object:
    """A schedule that somebody made in the UI, beside one of ours."""
    one = next(iter(kfp.state.recurring.values()))
    made = {**one, "recurring_run_id": f"by-hand-{name}", "display_name": name, "description": "mine"}
    kfp.state.recurring[made["recurring_run_id"]] = made
    return made


def test_a_schedule_is_created_enabled_without_backfill(kfp: FakeKfp, on: Sharpen) -> None:
    done = on("schedule", "create", "nightly", "--cron", "0 2 * * *", *ON_THE_STORE, "--set", "mining.rounds=2")
    assert done.code == 0, done.err
    one = on_server(kfp)["nightly"]
    assert one["trigger"] == {"cron_schedule": {"cron": "0 0 2 * * *"}}
    assert (one["mode"], one["no_catchup"], one["max_concurrency"]) == ("ENABLE", True, "1")
    assert one["pipeline_version_reference"]["pipeline_version_id"] in kfp.state.versions
    assert one["runtime_config"]["parameters"]["overrides"] == {"mining": {"rounds": 2}}
    assert done.out.count(" 02:00") == 3
    assert "(UTC, as CRON_SCHEDULE_TIMEZONE of the server should say)" in done.out


def test_an_interval_and_limits(kfp: FakeKfp, on: Sharpen) -> None:
    done = on(
        *("schedule", "create", "often", "--every", "6h", "--start", "2027-01-31T00:00:00+01:00"),
        *("--end", "2027-03-01T00:00:00Z", "--max-concurrency", "2", "--catchup", "--disabled", *ON_THE_STORE),
    )
    assert done.code == 0, done.err
    one = on_server(kfp)["often"]
    assert one["trigger"]["periodic_schedule"] == {
        "interval_second": "21600",
        "start_time": "2027-01-30T23:00:00Z",
        "end_time": "2027-03-01T00:00:00Z",
    }
    assert (one["status"], one["no_catchup"], one["max_concurrency"]) == ("DISABLED", False, "2")


def test_creating_it_again_changes_nothing_and_another_is_refused(kfp: FakeKfp, on: Sharpen) -> None:
    same = ("schedule", "create", "nightly", "--cron", "@daily", *ON_THE_STORE)
    on(*same)
    again = on(*same)
    assert (again.code, again.out.splitlines()[0]) == (0, "nightly: unchanged")
    done = on("schedule", "create", "nightly", "--cron", "0 3 * * *", *ON_THE_STORE)
    assert done.code == 2
    assert "exists with other content" in done.err
    assert len(kfp.state.recurring) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--cron", "0 0 2 * * *"), "schedules.0.cron: cron '0 0 2 * * *': has 6 fields"),
        (("--cron", "0 2 * * *", "--every", "6h"), "give either cron or every"),
        ((), "give either cron or every"),
        (("--cron", "@daily", "--max-concurrency", "11"), "schedules.0.max_concurrency"),
        (("--cron", "@daily", "--start", "2027-01-01"), "schedules.0.start"),
        (
            ("--cron", "@daily", "--start", "2027-02-01T00:00:00Z", "--end", "2027-01-01T00:00:00Z"),
            "is not after start",
        ),
        (("--cron", "@daily", "--time-zone", "Mars"), "no such time zone"),
        (("--cron", "@daily", "--set", "job.image=x/y"), "nightly: job.image x/y: name a digest"),
        (("--cron", "@daily", "--set", "train_data=here.jsonl"), "train_data: here.jsonl is on this machine"),
    ],
)
def test_wrong_input_is_told_before_anything_is_sent(
    kfp: FakeKfp, on: Sharpen, given: tuple[str, ...], said: str
) -> None:
    done = on("schedule", "create", "nightly", *ON_THE_STORE, *given)
    assert (done.code, kfp.calls) == (2, [])
    assert said in done.err
    assert len(done.err.splitlines()) == 1


# from a file


def test_a_file_is_applied_and_applied_again(kfp: FakeKfp, on: Sharpen, tmp_path: Path) -> None:
    file = write(tmp_path, NIGHTLY, WEEKLY)
    first = on("schedule", "apply", file)
    assert first.code == 0, first.err
    assert {name: one["trigger"]["cron_schedule"]["cron"] for name, one in on_server(kfp).items()} == {
        "nightly": "0 0 2 * * *",
        "weekly": "0 30 4 * * 0",
    }
    before = dict(kfp.state.recurring)
    kfp.page_size = 1
    kfp.history.clear()
    again = on("schedule", "apply", file, "--prune")
    assert again.code == 0
    assert [line for line in again.out.splitlines() if ": " in line and line[0] != " "] == [
        "nightly: unchanged",
        "weekly: unchanged",
    ]
    assert (kfp.state.recurring, kfp.history) == (before, [])
    assert len(kfp.state.versions) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"cron": "0 3 * * *"},
        {"settings": {**RUNS, "model_name": "other"}},
        {"max_concurrency": 3},
        {"no_catchup": False},
        {"service_account": "sharpen-pipeline"},
        {"start": "2027-01-01T00:00:00Z"},
    ],
)
def test_what_changed_is_made_anew_before_the_old_one_goes(
    kfp: FakeKfp, on: Sharpen, tmp_path: Path, change: Object
) -> None:
    on("schedule", "apply", write(tmp_path, NIGHTLY))
    (old,) = kfp.state.recurring
    kfp.history.clear()
    done = on("schedule", "apply", write(tmp_path, {**NIGHTLY, **change}))
    assert done.out.startswith("nightly: replaced\n")
    assert kfp.history == [("create", "nightly"), ("disable", "nightly"), ("delete", "nightly")]
    assert old not in kfp.state.recurring
    assert on_server(kfp)["nightly"]["status"] == "ENABLED"


def test_a_run_that_goes_on_survives_its_schedule(kfp: FakeKfp, on: Sharpen, tmp_path: Path) -> None:
    on("schedule", "apply", write(tmp_path, NIGHTLY))
    (one,) = kfp.state.recurring.values()
    kfp.state.runs["run"] = {"run_id": "run", "recurring_run_id": one["recurring_run_id"], "state": "RUNNING"}
    on("schedule", "apply", write(tmp_path, {**NIGHTLY, "cron": "0 3 * * *"}))
    assert "run" in kfp.state.runs


def test_the_file_pauses_and_resumes(kfp: FakeKfp, on: Sharpen, tmp_path: Path) -> None:
    on("schedule", "apply", write(tmp_path, NIGHTLY))
    (identity,) = kfp.state.recurring
    assert on("schedule", "apply", write(tmp_path, {**NIGHTLY, "enabled": False})).out == "nightly: paused\n"
    assert on_server(kfp)["nightly"]["status"] == "DISABLED"
    assert on("schedule", "apply", write(tmp_path, NIGHTLY)).out.startswith("nightly: resumed\n")
    assert on_server(kfp)["nightly"]["status"] == "ENABLED"
    assert list(kfp.state.recurring) == [identity]


def test_pruning_deletes_ours_of_this_experiment_only(kfp: FakeKfp, on: Sharpen, tmp_path: Path) -> None:
    on("schedule", "apply", write(tmp_path, NIGHTLY, WEEKLY))
    on("schedule", "apply", write(tmp_path, {**NIGHTLY, "name": "elsewhere"}, experiment="other"))
    by_hand(kfp, "by-hand")
    kfp.page_size = 1
    assert "weekly" in on_server(kfp)
    on("schedule", "apply", write(tmp_path, NIGHTLY))
    assert set(on_server(kfp)) == {"nightly", "weekly", "elsewhere", "by-hand"}
    done = on("schedule", "apply", write(tmp_path, NIGHTLY), "--prune")
    assert "weekly: deleted" in done.out
    assert set(on_server(kfp)) == {"nightly", "elsewhere", "by-hand"}


def test_what_others_made_is_left_alone(kfp: FakeKfp, on: Sharpen, tmp_path: Path) -> None:
    on("schedule", "apply", write(tmp_path, NIGHTLY))
    mine = dict(by_hand(kfp, "weekly"))
    for command in (("apply", write(tmp_path, WEEKLY)), ("pause", "weekly"), ("delete", mine["recurring_run_id"])):
        done = on("schedule", *command)
        assert done.code == 2
        assert "sharpen did not make" in done.err or "was not made by sharpen" in done.err
    assert kfp.state.recurring[mine["recurring_run_id"]] == mine
    listed = on("schedule", "list").out
    assert "others" in next(line for line in listed.splitlines() if line.startswith("weekly"))


@pytest.mark.parametrize(
    ("cron", "said", "minutes", "hours"),
    [
        ("0 2 * * *", "0 2 * * * (five fields: Kubeflow reads them with seconds first)  ", {2}, set(range(24))),
        ("0 30 4 * * ?", "0 30 4 * * ?  ", {30}, {4}),
        ("0 30 4 * * *", "0 30 4 * * *  ", {30}, {4}),
    ],
)
def test_the_list_shows_when_a_schedule_of_others_really_fires(
    kfp: FakeKfp, on: Sharpen, tmp_path: Path, cron: str, said: str, minutes: set[int], hours: set[int]
) -> None:
    """The server takes five fields and reads the minute as the second: "at two" fires every hour at two past."""
    on("schedule", "apply", write(tmp_path, NIGHTLY))
    by_hand(kfp, "others")["trigger"] = {"cron_schedule": {"cron": cron}}
    (row,) = (line for line in on("schedule", "list").out.splitlines() if line.startswith("others "))
    assert said in row
    (fires,) = re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d", row)
    fires = datetime.datetime.fromisoformat(f"{fires}+00:00")
    assert (fires.minute in minutes, fires.hour in hours) == (True, True)
    soon = datetime.timedelta(hours=1 if len(hours) > 1 else 24)
    assert datetime.timedelta(0) < fires - datetime.datetime.now(datetime.UTC) <= soon


def test_what_fires_next_is_never_in_the_past(kfp: FakeKfp, on: Sharpen) -> None:
    given = ("schedule", "create", "nightly", "--cron", "0 2 * * *", *ON_THE_STORE)
    (line,) = (line for line in on(*given, "--start", "2020-01-01T00:00:00Z").out.splitlines() if "next: " in line)
    times = [datetime.datetime.fromisoformat(f"{one}+00:00") for one in re.findall(r"\d{4}-\d\d-\d\d 02:00", line)]
    assert len(times) == 3
    now = datetime.datetime.now(datetime.UTC)
    assert all(datetime.timedelta(0) < time - now <= datetime.timedelta(days=3) for time in times)
    later = on("schedule", "create", "later", *given[3:], "--start", "2077-01-01T00:00:00Z").out
    assert "Fri 2077-01-01 02:00" in later


def test_a_half_done_replacement_is_finished_by_the_next(kfp: FakeKfp, on: Sharpen, tmp_path: Path) -> None:
    on("schedule", "apply", write(tmp_path, NIGHTLY))
    kfp.misbehave("RecurringRunService_DisableRecurringRun", status=403, body=b'{"code": 7, "message": "no"}')
    changed = write(tmp_path, {**NIGHTLY, "cron": "0 3 * * *"})
    done = on("schedule", "apply", changed)
    assert (done.code, len(kfp.state.recurring)) == (2, 2)
    assert on("schedule", "apply", changed).code == 0
    assert on_server(kfp)["nightly"]["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"


def test_a_creation_whose_answer_is_lost_makes_no_second(kfp: FakeKfp, on: Sharpen, tmp_path: Path) -> None:
    file = write(tmp_path, NIGHTLY)
    kfp.misbehave("RecurringRunService_CreateRecurringRun", status=0, done=True)
    assert on("schedule", "apply", file).code == 0
    assert len(on_server(kfp)) == 1
    kfp.misbehave("RecurringRunService_CreateRecurringRun", status=500)
    done = on("schedule", "apply", write(tmp_path, {**NIGHTLY, "cron": "0 3 * * *"}))
    assert done.code == 1
    assert "run the command again" in done.err
    # the old one is still there and fires: nothing was lost
    assert on_server(kfp)["nightly"]["status"] == "ENABLED"


def test_two_of_one_content_become_one(kfp: FakeKfp, on: Sharpen, tmp_path: Path) -> None:
    file = write(tmp_path, NIGHTLY)
    on("schedule", "apply", file)
    (first,) = list(kfp.state.recurring.values())
    twin = {**first, "recurring_run_id": "twin", "created_at": kfp.now()}
    kfp.state.recurring["twin"] = twin
    on("schedule", "apply", file)
    assert list(kfp.state.recurring) == [first["recurring_run_id"]]


def test_settings_come_from_a_file_beside_it_and_from_the_schedule(kfp: FakeKfp, on: Sharpen, tmp_path: Path) -> None:
    folder = tmp_path / "some folder"
    folder.mkdir()
    (folder / "common.yaml").write_text(yaml.safe_dump({**RUNS, "training": {"temperature": 0.05, "max_steps": 9}}))
    one = {"name": "nightly", "cron": "@daily", "config": "common.yaml", "settings": {"training": {"max_steps": 7}}}
    done = on("schedule", "apply", write(folder, one))
    assert done.code == 0, done.err
    parameters = on_server(kfp)["nightly"]["runtime_config"]["parameters"]
    assert parameters["store"] == "s3://models/sharpen"
    assert parameters["overrides"] == {"training": {"max_steps": 7}}
    assert parameters["training_temperature"] == 0.05


def test_every_fault_of_a_file_is_told_before_anything_is_sent(kfp: FakeKfp, on: Sharpen, tmp_path: Path) -> None:
    file = write(
        tmp_path,
        {**NIGHTLY, "settings": {"train_data": "rows.jsonl", "store": "models"}},
        {**WEEKLY, "settings": RUNS},
    )
    done = on("schedule", "apply", file)
    assert (done.code, kfp.calls) == (2, [])
    assert "nightly: train_data: rows.jsonl" in done.err
    assert "nightly: store: models is on this machine" in done.err
    moves = {**WEEKLY, "settings": {**RUNS, "job": {"image": "x/y:latest"}}}
    done = on("schedule", "apply", write(tmp_path, NIGHTLY, moves))
    assert (done.code, kfp.calls) == (2, [])
    assert done.err.startswith("error: weekly: job.image x/y:latest: latest moves")
    wrong = write(tmp_path, {**NIGHTLY, "settings": {"trainn_data": "x"}}, {**WEEKLY, "config": "gone.yaml"})
    lines = on("schedule", "apply", wrong).err.splitlines()
    assert [line.split(": ")[2] for line in lines] == ["nightly", "weekly"]
    wrong = write(tmp_path, {**NIGHTLY, "cronn": "x"}, NIGHTLY)
    assert "schedules.0.cronn: unknown setting" in on("schedule", "apply", wrong).err
    assert "nightly: named twice" in on("schedule", "apply", write(tmp_path, NIGHTLY, NIGHTLY)).err
    assert "image: name the image" in on("schedule", "apply", write(tmp_path, NIGHTLY, image="")).err
    assert on("schedule", "apply", str(tmp_path / "gone.yaml")).code == 2
    assert kfp.calls == []


def test_list_pause_resume_and_delete(kfp: FakeKfp, on: Sharpen, tmp_path: Path) -> None:
    assert on("schedule", "list").out == "no schedules in the experiment sharpen\n"
    on("schedule", "apply", write(tmp_path, NIGHTLY))
    (identity,) = kfp.state.recurring
    row = on("schedule", "list", "--time-zone", "Europe/Berlin").out.splitlines()[1]
    assert row.split()[:2] == ["nightly", "ENABLED"]
    assert "0 0 2 * * *" in row
    assert " 02:00 " in row
    assert identity in row
    assert on("schedule", "pause", "nightly").out == "nightly: paused\n"
    assert on("schedule", "pause", identity).out == "nightly: was paused already\n"
    assert on("schedule", "list").out.splitlines()[1].split()[1] == "DISABLED"
    assert on("schedule", "resume", "nightly").out == "nightly: enabled\n"
    assert on_server(kfp)["nightly"]["status"] == "ENABLED"
    kfp.misbehave("RecurringRunService_DeleteRecurringRun", status=503, done=True)
    assert on("schedule", "delete", "nightly").code == 0
    assert kfp.state.recurring == {}
    gone = on("schedule", "delete", "nightly")
    assert (gone.code, gone.err) == (2, "error: nightly: no such schedule; `sharpen schedule list` shows them\n")
