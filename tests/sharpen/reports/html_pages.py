"""What must hold for an HTML page, whatever stands in the texts that it shows."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

from sharpen.reports.html_page import CONTENT_SECURITY_POLICY

HOSTILE = (
    "</title></style></script><script>alert(1)</script><img src=x onerror=alert(1)>\" onload='alert(1)' "
    "<svg/onload=alert(1)> <iframe srcdoc='x'></iframe> <base href='//evil'> javascript:alert(1) {{ 7*7 }} {% x %} "
    "<!-- \u202e \x1b[31m -->"
)

_VOID = ("meta", "br", "img", "link", "input", "base")
_FORBIDDEN = ("link", "img", "iframe", "object", "embed", "base", "form")
_FETCHING = ("src", "href", "xlink:href", "action", "formaction", "background", "srcdoc")


class _Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        self.text += " " if tag in ("td", "th", "li") else ""
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        elif tag in self.open and tag not in ("div", "section", "table", "details"):
            while self.open.pop() != tag:  # HTML lets td, tr and p stay open
                pass
        else:
            raise AssertionError(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self.text += data if self.open[-1:] not in (["style"], ["script"]) else ""
        if self.open[-1:] == ["script"]:
            self.scripts[-1] += data


def check_page(page: str, script: str = "") -> str:
    """Assert that a page is whole, runs nothing but `script`, fetches nothing and says so; returns its text."""
    parsed = _Tags(page)
    assert parsed.open == []
    head = [tag for tag, _ in parsed.found]
    assert head[:4] == ["html", "head", "meta", "meta"]
    policy = CONTENT_SECURITY_POLICY
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy = policy.replace("script-src 'none'", f"script-src 'sha256-{digest}'")
        kinds = [attributes for tag, attributes in parsed.found if tag == "script"]
        assert kinds == [{"type": "application/json", "id": "data"}, {}]
        data, running = parsed.scripts
        assert running == script and json.loads(data)
        assert "<" not in data
    else:
        assert "script" not in head
    assert parsed.found[3][1] == {"http-equiv": "Content-Security-Policy", "content": policy}
    for tag, attributes in parsed.found:
        assert tag not in _FORBIDDEN, tag
        for name, value in attributes.items():
            assert not name.startswith("on") and name not in _FETCHING, (tag, name)
            assert "url(" not in (value or ""), (tag, name)
    assert page.count("</style>") == 1
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert not re.search(r"url\(|@import|expression\(|https?:", style)
    return " ".join(parsed.text.split())
