"""An OpenAI-compatible endpoint: one request, waited for and repeated where that helps."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from sharpen.errors import InputError, StepFailed
from sharpen.http_api import ApiError, Server
from sharpen.http_api.json_api import request as http_request
from sharpen.language_model.budget import estimated_tokens
from sharpen.language_model.journal import Record
from sharpen.language_model.request import ChatRequest
from sharpen.language_model.settings import LanguageModelSettings
from sharpen.retry import explain
from sharpen.terminal import one_line

logger = logging.getLogger(__name__)

_FORMS = ("json_schema", "json_object", "off")
# likeliest tokens in each position whose probabilities are asked for
_ALTERNATIVES = 10
# of an answer whose probabilities are of use
_MOST_TOKENS = 100
# answers that mean every request would fail
_SETUP = (401, 403, 404, 405)
# answers to a `response_format` that is not known
_UNKNOWN_FORM = (400, 422, 501)


class Endpoint:
    """The API at an address; several threads may ask.

    Args:
        address: such as ``http://vllm:8000/v1``.
        settings: time, patience, and how answers are made JSON.
        check: of a server that is started here and has answered before; raises StepFailed where it has ended.
        logprobs: ask for the probabilities of tokens, unless the endpoint does not know how.
    """

    def __init__(
        self,
        address: str,
        settings: LanguageModelSettings,
        *,
        check: Callable[[], None] | None = None,
        logprobs: bool = False,
    ) -> None:
        self.address, self.settings, self._check = address, settings, check
        self._key = os.environ.get(settings.key_variable, "").strip()
        if any(ord(letter) < 33 or ord(letter) > 126 for letter in self._key):
            raise InputError(f"{settings.key_variable}: holds white space or characters that no key has; set it again")
        if self._key and address.startswith("http://") and not _is_near(address):
            logger.warning(f"warning: the key ({settings.key_variable}) is sent unencrypted to {address}; use https://")
        self._server = Server(
            f"the language model at {address}", check is not None, settings.patience_seconds, 1.0, 60.0
        )
        self._lock = threading.Lock()
        forms = _FORMS if settings.structured_output == "auto" else (settings.structured_output,)
        # from the most that can be asked for to the least
        self._ways = [(form, more) for more in ((True, False) if logprobs else (False,)) for form in forms]
        self._way_is_known = len(self._ways) == 1

    def ask(self, request: ChatRequest) -> Record:
        """The answer to a request, unchecked, or that the endpoint refuses it.

        Raises:
            InputError: wrong address, key or model.
            StepFailed: no answer for too long.
        """
        while True:
            way = self._ways[0]
            try:
                record = self._ask(request, *way)
            except ApiError as error:
                if _is_unknown_form(error) and self._next_way(way):
                    continue
                return self._refused(request, error)
            with self._lock:
                # what has worked once is not given up for a request that fails for another reason
                self._way_is_known |= way == self._ways[0]
            return record

    def _next_way(self, refused: tuple[str, bool]) -> bool:
        """Whether there is another way to put the request after one that was refused."""
        with self._lock:
            if self._way_is_known:
                return False
            if self._ways[0] == refused and len(self._ways) > 1:
                del self._ways[0]
            return self._ways[0] != refused

    def _ask(self, request: ChatRequest, form: str, logprobs: bool) -> Record:
        body: dict[str, Any] = {**request.parameters, "messages": request.messages, "stream": False}
        name, schema = request.schema
        if form == "json_schema":
            body["response_format"] = {
                "type": form,
                "json_schema": {"name": name, "schema": schema, "strict": True},
            }
        elif form == "json_object":
            body["response_format"] = {"type": form, "schema": schema}
        if logprobs:
            body |= {"logprobs": True, "top_logprobs": _ALTERNATIVES}
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
            self._may_repeat,
        )
        return _record(request, answer)

    def _may_repeat(self, error: ApiError) -> bool:
        if self._check:
            self._check()
        return error.passing and not _is_unknown_form(error)

    def _refused(self, request: ChatRequest, error: ApiError) -> Record:
        details = error.body.get("error")
        described = details.get("message") if isinstance(details, Mapping) else None
        text = explain(error, str(described or error.message))
        message = one_line(text.replace(self._key, "***") if self._key else text, 300)
        if error.status in _SETUP:
            group, variable = self.settings.group, self.settings.key_variable
            advice = {401: f"set {variable}", 403: f"check {variable}"}.get(
                error.status, f"check {group}.endpoint, which usually ends with /v1, and {group}.model"
            )
            raise InputError(f"{group}.endpoint: {self.address} answered {error.status} ({message}); {advice}")
        if error.passing:
            answered = f"answered {error.status}" if error.status else "does not answer"
            raise StepFailed(
                f"the language model at {self.address} {answered} ({message}); what was answered is in the journal: "
                "run again to go on"
            )
        return Record(request=request.key, status="refused", message=f"{error.status} {message}")


def _is_unknown_form(error: ApiError) -> bool:
    """Whether the endpoint seems not to know `response_format` or `logprobs`; llama.cpp's server for Python answers 500
    then.
    """
    named = any(name in str(error) for name in ("response_format", "logprobs", "logits_all"))
    return error.status in _UNKNOWN_FORM or (error.status == 500 and named)


def _is_near(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    return (
        "." not in host or host.startswith("127.") or host.endswith((".svc", ".local", ".internal", ".cluster.local"))
    )


def _record(request: ChatRequest, answer: bytes) -> Record:
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
        tokens=_tokens(first),
        model=model[:200] if isinstance(model, str) else "",
        input_tokens=estimated_tokens(request.characters) if given is None else given,
        output_tokens=estimated_tokens(len(content or "")) if written is None else written,
        estimated=given is None or written is None,
    )


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else None


def _tokens(choice: Mapping[str, Any]) -> list[tuple[str, dict[str, float]]] | None:
    """Each token with the log probabilities of the likeliest ones in its position; None where they are not given."""
    logprobs = choice.get("logprobs")
    rows = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not isinstance(rows, list):
        return None
    try:
        found = []
        for row in rows[:_MOST_TOKENS]:
            likeliest = {str(one["token"]): float(one["logprob"]) for one in row["top_logprobs"]}
            found.append((str(row["token"]), {token: value for token, value in likeliest.items() if value <= 0}))
    except (KeyError, TypeError, ValueError):
        return None
    return found
