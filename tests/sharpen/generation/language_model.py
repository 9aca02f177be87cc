"""An OpenAI-compatible endpoint on this machine that writes queries from the titles of the passages it is given."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.sharpen.http_recorder import serving

_PASSAGE = re.compile(r"<(passage-\w+)>\n(.*?)\n</\1>", re.DOTALL)
_STYLE = re.compile(r"^- (\w+): ", re.MULTILINE)


@dataclass
class Reply:
    """An answer as it goes over the wire: `body` is JSON or raw; `drip` seconds pass between its parts."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0


@dataclass
class LanguageModel:
    """What was asked, and how it answers.

    Attributes:
        url: as `generation.endpoint` takes it.
        bodies: of all requests.
        authorizations: of all requests.
        most_at_once: requests that were under way at the same time.
        behave: body and number of the request, from 0 -> a reply; None: an honest answer.
    """

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    most_at_once: int = 0
    behave: Callable[[dict[str, Any], int], Reply | None] = lambda body, number: None


def passages_in(body: dict[str, Any]) -> list[str]:
    """The passages of a request, without its examples."""
    found = [text for _, text in _PASSAGE.findall(body["messages"][1]["content"])]
    return [text for text in found if not text.startswith("example of a passage")]


def styles_in(body: dict[str, Any]) -> list[str]:
    return _STYLE.findall(body["messages"][1]["content"])


def honest(body: dict[str, Any]) -> list[dict[str, str]]:
    """A query of each style."""
    named = " and ".join(text.splitlines()[0].removeprefix("About ") for text in passages_in(body))
    texts = {
        "keyword": named,
        "question": f"what is known of {named}?",
        "request": f"please explain {named} to me, since i have to teach it",
        "multi_passage": f"how do {named} belong together?",
    }
    return [{"style": style, "text": texts[style]} for style in styles_in(body)]


def completion(content: Any, given: int = 100, written: int = 20) -> dict[str, Any]:
    """An answer of the API around a message's content."""
    text = content if isinstance(content, str) else json.dumps(content)
    return {
        "id": "x",
        "object": "chat.completion",
        "model": "test-model-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": given, "completion_tokens": written, "total_tokens": given + written},
    }


@contextmanager
def language_model() -> Iterator[LanguageModel]:
    """A server for as long as the block."""
    model = LanguageModel()
    lock, under_way = threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(model.bodies)
                model.bodies.append(body)
                model.authorizations.append(self.headers.get("Authorization"))
                under_way[0] += 1
                model.most_at_once = max(model.most_at_once, under_way[0])
            try:
                reply = model.behave(body, number) or Reply(completion({"queries": honest(body)}))
                time.sleep(reply.delay)
                with suppress(OSError):
                    self._send(reply)
            finally:
                with lock:
                    under_way[0] -= 1

        def _send(self, reply: Reply) -> None:
            data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            for start in range(0, len(data), max(1, len(data) // 8)):
                self.wfile.write(data[start : start + max(1, len(data) // 8)])
                time.sleep(reply.drip)

        def log_message(self, *_: object) -> None:
            return

    with serving(Handler) as address:
        model.url = f"{address}/v1"
        yield model
