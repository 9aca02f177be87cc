"""Messages to a real HTTP server: their form, what is sent when, and that no run depends on who listens."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from sharpen.errors import InputError
from sharpen.notifications import WEBHOOK_VARIABLE, Event, NotificationSettings, notify
from sharpen.notifications.formats import encoded
from sharpen.registry.report import FAILED, SUCCEEDED, RunEnd, run_event
from tests.sharpen.http_recorder import Recorder, recorder
from tests.sharpen.reports.sample_pages import STORE, an_outcome

SECRET = "T0001-very-secret"
EVENT = Event(
    "promoted",
    "code-search",
    "run-1",
    "promoted as v0003",
    ["gain <b> & more"],
    version="v0003",
    addresses={"model": "s3://bucket/models/v0003"},
    figures={"ndcg_at_10 against base": 0.08},
    commands=["sharpen models show code-search"],
)
# https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/cloudevents.json, without its examples
CLOUDEVENTS: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {
        **{name: {"type": "string", "minLength": 1} for name in ("id", "specversion", "type")},
        "source": {"type": "string", "format": "uri-reference", "minLength": 1},
        "datacontenttype": {"type": ["string", "null"], "minLength": 1},
        "dataschema": {"type": ["string", "null"], "format": "uri", "minLength": 1},
        "subject": {"type": ["string", "null"], "minLength": 1},
        "time": {"type": ["string", "null"], "format": "date-time", "minLength": 1},
        "data": {"type": ["object", "string", "number", "array", "boolean", "null"]},
        "data_base64": {"type": ["string", "null"], "contentEncoding": "base64"},
    },
    # names of attributes: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#naming-conventions
    "patternProperties": {"^[a-z0-9]+$": {}, "^data_base64$": {}},
    "additionalProperties": False,
    "required": ["id", "source", "specversion", "type"],
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    with recorder() as found:
        monkeypatch.setenv(WEBHOOK_VARIABLE, f"{found.url}/services/{SECRET}")
        yield found


def settings(**values: Any) -> NotificationSettings:
    return NotificationSettings.checked(values)


def test_slack_gets_text_and_blocks_and_nothing_that_is_markup(server: Recorder) -> None:
    assert notify(EVENT, settings())
    ((path, headers, body),) = server.requests
    assert path == f"/services/{SECRET}" and headers["content-type"] == "application/json; charset=utf-8"
    message = json.loads(body)
    assert message["text"].startswith("✅ code-search: promoted as v0003\n• gain &lt;b&gt; &amp; more\n")
    header, section = message["blocks"]
    assert header["text"] == {"type": "plain_text", "text": "✅ code-search: promoted as v0003"}
    assert "model: s3://bucket/models/v0003" in section["text"]["text"]
    assert "`sharpen models show code-search`" in section["text"]["text"]
    _, long = encoded(Event("failed", "m", "r", "x" * 500, ["y" * 9000]), "slack")
    header, section = json.loads(long)["blocks"]
    assert len(header["text"]["text"]) == 150 and len(section["text"]["text"]) == 3000


@pytest.mark.parametrize("kind", ["promoted", "refused", "waiting", "failed"])
def test_a_cloud_event_is_one_by_its_schema_and_has_the_same_id_again(server: Recorder, kind: Any) -> None:
    event = Event(kind, "code-search", "run-1", "what happened", ["why"])
    for _ in range(2):
        assert notify(event, settings(format="cloudevents"))
    (_, headers, first), (_, _, second) = server.requests
    assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    sent = json.loads(first)
    jsonschema.validate(sent, CLOUDEVENTS, format_checker=jsonschema.FormatChecker())
    assert (sent["specversion"], sent["type"]) == ("1.0", f"io.github.sharpen.model.{kind}")
    assert (sent["source"], sent["subject"]) == ("/sharpen/models/code-search", "run-1")
    assert sent["data"]["reasons"] == ["why"] and sent["id"] == json.loads(second)["id"]
    # without a run or a version there is no subject, since an attribute may not be empty
    bare = json.loads(encoded(Event(kind, "m", "", "x"), "cloudevents")[1])
    jsonschema.validate(bare, CLOUDEVENTS)
    assert "subject" not in bare


def test_it_is_tried_again_and_then_given_up_without_naming_the_address(
    server: Recorder, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    server.answers[:] = [503, 429, 200]
    assert notify(EVENT, settings(), patience=10)
    assert len(server.requests) == 3
    for answer in (404, 302):
        server.answers[:] = [answer]
        server.headers["Location"] = f"{server.url}/elsewhere"
        assert not notify(EVENT, settings(), patience=10)
        assert f"it answered {answer}" in caplog.messages[-1]
    assert len(server.requests) == 5
    server.answers[:] = [500] * 50
    began = time.monotonic()
    assert not notify(EVENT, settings(), patience=0.5)
    assert time.monotonic() - began < 30
    captured = capfd.readouterr()
    assert SECRET not in caplog.text + captured.out + captured.err


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://host/" + SECRET, "does not begin with https://"),
        (SECRET, "does not begin with https://"),
        ("http://127.0.0.1:9/" + SECRET, "it does not answer"),
        ("http://[half/" + SECRET, "cannot be used"),
        ("http://host name/" + SECRET, "cannot be used"),
    ],
)
def test_a_wrong_address_is_a_note_without_the_address(
    url: str, says: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(WEBHOOK_VARIABLE, url)
    caplog.set_level(logging.DEBUG)
    assert not notify(EVENT, settings(), patience=0.2)
    assert says in caplog.messages[-1] and SECRET not in caplog.text


def test_only_what_is_wanted_is_sent(server: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not notify(EVENT, settings(on="failed,waiting"))
    assert notify(EVENT, settings(on=["promoted"]))
    monkeypatch.delenv(WEBHOOK_VARIABLE)
    assert not notify(EVENT, settings())
    assert len(server.requests) == 1
    with pytest.raises(InputError, match=r"notification\.on"):
        NotificationSettings.checked({"on": "promotted"}, where="notification.")
    # a secret is no setting
    with pytest.raises(InputError, match=r"notification\.url: unknown setting"):
        NotificationSettings.checked({"url": SECRET}, where="notification.")


def test_the_event_of_each_end_of_a_run() -> None:
    def kind(outcome: Any, state: str = SUCCEEDED) -> str:
        event = run_event(RunEnd("x", state, "finetuning"), "code-search", outcome, run="r", store=STORE)
        return event.kind if event else ""

    assert kind(an_outcome()) == "promoted"
    assert kind(an_outcome("reject", version="")) == kind(an_outcome("overtaken", version="")) == "refused"
    assert kind(an_outcome("waiting")) == "waiting"
    assert kind(None, FAILED) == kind(an_outcome(), FAILED) == "failed"
    # nothing new, nothing changed, only a report, cancelled
    assert kind(an_outcome("skip", version="")) == kind(an_outcome(unchanged=True)) == ""
    assert kind(an_outcome(version="")) == kind(None, "cancelled") == ""
    event = run_event(RunEnd("x", SUCCEEDED), "code-search", an_outcome("waiting"), run="r", store=STORE)
    assert event and event.summary == "v0003 waits for approval" and event.version == "v0003"
    assert event.commands[0] == f"sharpen models approve code-search v0003 --store {STORE}"
    assert event.figures["ndcg_at_10 against base, low"] == 0.05
