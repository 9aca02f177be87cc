"""An endpoint that is bad, slow, rate-limited or lies."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from sharpen.errors import InputError, StepFailed
from sharpen.generation.prompting.answers import parse_answer
from sharpen.generation.prompting.prompt import Source, make_request
from sharpen.generation.settings import KEY_VARIABLE, GenerationSettings
from sharpen.http_api import parse_refusal
from sharpen.language_model.endpoint import Endpoint
from tests.sharpen.generation.language_model import LanguageModel, Reply, completion

Make = Callable[..., GenerationSettings]


def _ask(model: LanguageModel, settings: GenerationSettings) -> Any:
    request = make_request([Source(0, "p", "T", "Fish live in rivers.")], ("question",), [], settings)
    return Endpoint(model.url, settings).ask(request)


def test_request_and_answer(model: LanguageModel, settings: Make) -> None:
    record = _ask(model, settings(seed=7))
    assert parse_answer(record.content) is not None
    assert (record.model, record.input_tokens, record.output_tokens) == ("test-model-1", 100, 20)
    body = model.bodies[0]
    assert (body["model"], body["seed"], body["temperature"], body["stream"]) == ("test-model", 7, 0.7, False)
    assert body["response_format"]["json_schema"]["schema"]["properties"]["queries"]["items"]["required"]
    assert model.authorizations == [None]


def test_key_is_sent_and_never_shown(
    model: LanguageModel, settings: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sk-secret-1")
    model.behave = lambda body, number: Reply({"error": {"message": "bad key sk-secret-1"}}, 401)
    with pytest.raises(InputError, match=f"answered 401 .*set {KEY_VARIABLE}") as raised:
        _ask(model, settings())
    assert model.authorizations == ["Bearer sk-secret-1"]
    assert "sk-secret-1" not in str(raised.value) + caplog.text


def test_rate_limit_is_waited_for(model: LanguageModel, settings: Make) -> None:
    model.behave = lambda body, number: Reply({}, 429, {"Retry-After": "30"}) if number < 2 else None
    started = time.monotonic()
    assert _ask(model, settings()).status == "answered"
    assert len(model.bodies) == 3
    # twice 30 s, of which a hundredth passes here
    assert 0.6 <= time.monotonic() - started < 5


def test_retry_after_as_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 85 < parse_refusal(503, "", b"", {"Retry-After": later}).retry_after <= 90
    assert parse_refusal(503, "", b"", {"Retry-After": "soon"}).retry_after == 0


def test_server_that_fails_for_good_ends_the_step(model: LanguageModel, settings: Make) -> None:
    model.behave = lambda body, number: Reply({"error": "overloaded"}, 503)
    with pytest.raises(StepFailed, match=r"answered 503 .*overloaded.*run again to go on"):
        _ask(model, settings(patience_seconds=0.2))
    assert len(model.bodies) > 1


@pytest.mark.parametrize("slow", [{"delay": 0.4}, {"drip": 0.1}])
def test_slow_answer_is_given_up(model: LanguageModel, settings: Make, slow: dict[str, float]) -> None:
    model.behave = lambda body, number: Reply(completion({"queries": []}), **slow)  # type: ignore[arg-type]
    started = time.monotonic()
    with pytest.raises(StepFailed, match="does not answer"):
        _ask(model, settings(request_seconds=0.2, patience_seconds=0))
    assert time.monotonic() - started < 2


def test_nobody_there_is_said_soon(settings: Make, model: LanguageModel) -> None:
    absent = settings(endpoint="http://127.0.0.1:9/v1", patience_seconds=0)
    request = make_request([Source(0, "p", "", "text")], ("question",), [], absent)
    with pytest.raises(StepFailed, match=r"127\.0\.0\.1:9/v1 does not answer"):
        Endpoint(absent.endpoint, absent).ask(request)


def test_wrong_address_or_model_is_the_users_fault(model: LanguageModel, settings: Make) -> None:
    model.behave = lambda body, number: Reply({"error": {"message": "no such model"}}, 404)
    with pytest.raises(InputError, match=r"usually ends with /v1"):
        _ask(model, settings())


@pytest.mark.parametrize("status", [422, 500])
@pytest.mark.parametrize("refused", [("json_schema",), ("json_schema", "json_object")])
def test_forms_that_the_endpoint_does_not_know(
    model: LanguageModel, settings: Make, refused: tuple[str, ...], status: int
) -> None:
    def behave(body: dict[str, Any], number: int) -> Reply | None:
        # 500 is what the server of llama-cpp-python says
        told = {"error": {"message": "1 validation error: {'loc': ('body', 'response_format', 'type')}"}}
        return Reply(told, status) if body.get("response_format", {}).get("type") in refused else None

    model.behave = behave
    checked = settings()
    endpoint = Endpoint(model.url, checked)
    requests = [make_request([Source(0, "p", "", f"text {n}")], ("question",), [], checked) for n in range(2)]
    assert [endpoint.ask(one).status for one in requests] == ["answered", "answered"]
    # what was learnt is not tried again
    assert len(model.bodies) == len(refused) + 2


def test_one_refused_request_is_no_failure(model: LanguageModel, settings: Make) -> None:
    model.behave = lambda body, number: Reply({"error": {"message": "too long"}}, 400)
    record = _ask(model, settings(structured_output="off"))
    assert (record.status, record.output_tokens) == ("refused", 0)
    assert "too long" in record.message


@pytest.mark.parametrize(
    "body",
    [
        b"<html>not an API</html>",
        b"[1]",
        {},
        {"choices": []},
        {"choices": [None]},
        {"choices": [{"message": {"content": None}}], "usage": {"prompt_tokens": -5, "completion_tokens": "many"}},
    ],
)
def test_lies_are_no_answers_and_are_counted(model: LanguageModel, settings: Make, body: Any) -> None:
    model.behave = lambda _, number: Reply(body)
    record = _ask(model, settings())
    assert (record.status, record.content, record.estimated) == ("answered", None, True)
    assert record.input_tokens > 100


@pytest.mark.parametrize("refused", [(), ("logprobs",), ("logprobs", "response_format")])
def test_probabilities_are_asked_for_where_the_endpoint_gives_them(
    model: LanguageModel, settings: Make, refused: tuple[str, ...]
) -> None:
    def behave(body: dict[str, Any], number: int) -> Reply:
        if named := [name for name in refused if name in body]:
            return Reply({"error": {"message": f"unknown field {named[0]}"}}, 400)
        answer = completion({"queries": []})
        if "logprobs" in body:
            likeliest = [{"token": "{", "logprob": -0.1}, {"token": "a", "logprob": 0.2}]
            answer["choices"][0]["logprobs"] = {"content": [{"token": "{", "logprob": -0.1, "top_logprobs": likeliest}]}
        return Reply(answer)

    model.behave = behave
    checked = settings()
    endpoint = Endpoint(model.url, checked, logprobs=True)
    request = make_request([Source(0, "p", "T", "Fish live in rivers.")], ("question",), [], checked)
    record = endpoint.ask(request)
    # what is no log probability is no news
    assert record.tokens == (None if refused else [("{", {"{": -0.1})])
    assert ("response_format" in model.bodies[-1]) == ("response_format" not in refused)


@pytest.mark.parametrize("content", [3, [3], [{"token": "a"}], [{"token": "a", "top_logprobs": [{"token": "a"}]}]])
def test_probabilities_that_are_none_are_ignored(model: LanguageModel, settings: Make, content: Any) -> None:
    answer = completion({"queries": []})
    answer["choices"][0]["logprobs"] = {"content": content}
    model.behave = lambda body, number: Reply(answer)
    assert _ask(model, settings()).tokens is None
