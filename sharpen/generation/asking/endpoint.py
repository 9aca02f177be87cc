"""An OpenAI-compatible endpoint: one request, waited for and repeated where that helps."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from sharpen.errors import InputError, StepFailed
from sharpen.generation.asking.budget import estimated_tokens
from sharpen.generation.asking.journal import Record
from sharpen.generation.prompting.prompt import PromptRequest, answer_schema
from sharpen.generation.settings import KEY_VARIABLE, GenerationSettings
from sharpen.http_api import ApiError, Server
from sharpen.http_api.json_api import request as http_request
from sharpen.retry import explain
from sharpen.terminal import one_line

logger = logging.getLogger(__name__)

_FORMS = ("json_schema", "json_object", "off")
# answers that mean every request would fail
_SETUP = (401, 403, 404, 405)
# answers to a `response_format` that is not known
_UNKNOWN_FORM = (400, 422, 501)


class Endpoint:
    """The API at an address; several threads may ask.

    Args:
        address: such as ``http://vllm:8000/v1``.
        settings: time, patience, and how answers are made JSON.
        is_known: it has answered before.
    """

    def __init__(self, address: str, settings: GenerationSettings, *, is_known: bool = False) -> None:
        self.address, self.settings = address, settings
        self._key = os.environ.get(KEY_VARIABLE, "").strip()
        if any(ord(letter) < 33 or ord(letter) > 126 for letter in self._key):
            raise InputError(f"{KEY_VARIABLE}: holds white space or characters that no key has; set it again")
        if self._key and address.startswith("http://") and not _is_near(address):
            logger.warning(f"warning: the key ({KEY_VARIABLE}) is sent unencrypted to {address}; use https://")
        self._server = Server(f"the language model at {address}", is_known, settings.patience_seconds, 1.0, 60.0)
        self._lock = threading.Lock()
        self._form = _FORMS[0] if settings.structured_output == "auto" else settings.structured_output
        self._form_is_known = settings.structured_output != "auto"

    def ask(self, request: PromptRequest) -> Record:
        """The answer to a request, unchecked, or that the endpoint refuses it.

        Raises:
            InputError: wrong address, key or model.
            StepFailed: no answer for too long.
        """
        while True:
            form = self._form
            try:
                record = self._ask(request, form)
            except ApiError as error:
                if _is_unknown_form(error) and self._next_form(form):
                    continue
                return self._refused(request, error)
            with self._lock:
                # what has worked once is not given up for a request that fails for another reason
                self._form_is_known |= form == self._form
            return record

    def _next_form(self, refused: str) -> bool:
        """Whether there is another form of the request to try after one that was refused."""
        with self._lock:
            if self._form_is_known:
                return False
            if self._form == refused and refused != _FORMS[-1]:
                self._form = _FORMS[_FORMS.index(refused) + 1]
            return self._form != refused

    def _ask(self, request: PromptRequest, form: str) -> Record:
        body: dict[str, Any] = {**request.parameters, "messages": request.messages, "stream": False}
        schema = answer_schema(request.styles)
        if form == "json_schema":
            body["response_format"] = {
                "type": form,
                "json_schema": {"name": "queries", "schema": schema, "strict": True},
            }
        elif form == "json_object":
            body["response_format"] = {"type": form, "schema": schema}
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "sharpen"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        data, limit = json.dumps(body).encode(), self.settings.request_seconds
        answer = self._server.call(
            lambda left: http_request(
                *("POST", f"{self.address}/chat/completions", data),
                headers=headers,
                seconds=limit,
                whole_seconds=limit,
            ),
            lambda error: error.passing and not _is_unknown_form(error),
        )
        return _record(request, answer)

    def _refused(self, request: PromptRequest, error: ApiError) -> Record:
        details = error.body.get("error")
        described = details.get("message") if isinstance(details, Mapping) else None
        text = explain(error, str(described or error.message))
        message = one_line(text.replace(self._key, "***") if self._key else text, 300)
        if error.status in _SETUP:
            advice = {401: f"set {KEY_VARIABLE}", 403: f"check {KEY_VARIABLE}"}.get(
                error.status, "check generation.endpoint, which usually ends with /v1, and generation.model"
            )
            raise InputError(f"generation.endpoint: {self.address} answered {error.status} ({message}); {advice}")
        if error.passing:
            answered = f"answered {error.status}" if error.status else "does not answer"
            raise StepFailed(
                f"the language model at {self.address} {answered} ({message}); what was written is in the journal: "
                "run again to go on"
            )
        return Record(request=request.key, status="refused", message=f"{error.status} {message}")


def _is_unknown_form(error: ApiError) -> bool:
    """Whether the endpoint seems not to know the `response_format`; llama.cpp's server for Python answers 500 then."""
    return error.status in _UNKNOWN_FORM or (error.status == 500 and "response_format" in str(error))


def _is_near(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    return (
        "." not in host or host.startswith("127.") or host.endswith((".svc", ".local", ".internal", ".cluster.local"))
    )


def _record(request: PromptRequest, answer: bytes) -> Record:
    """What an answer says; an empty content where it is not what the API promises."""
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        value = {}
    answer_object = value if isinstance(value, dict) else {}
    choices = answer_object.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = first.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    content = content if isinstance(content, str) else None
    usage = answer_object.get("usage")
    given, written = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
    model = answer_object.get("model")
    return Record(
        request=request.key,
        status="answered",
        content=content,
        model=model[:200] if isinstance(model, str) else "",
        input_tokens=estimated_tokens(request.characters) if given is None else given,
        output_tokens=estimated_tokens(len(content or "")) if written is None else written,
        estimated=given is None or written is None,
    )


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else None
