"""What the fake API says of itself: its version, the kinds that it serves, who may do what, and services behind it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.sharpen.jobs.fake_api import FakeApi

_SERVICE = re.compile(r"^/api/v1/namespaces/([^/]+)/services/([^/:]+):(\d+)/proxy/(.*)$")
_GROUP = re.compile(r"^/apis/([^/]+)/?$")
_RESOURCES = re.compile(r"^/apis/([^/]+)/([^/]+)/?$")


def answer_to(api: FakeApi, method: str, path: str, authorization: str) -> tuple[int, Any] | None:
    """Status and body for a question about the cluster; None when the path is one of an object."""
    if method != "GET":
        return None
    if authorization.partition(" ")[2] not in api.tokens:
        return None
    if path.rstrip("/") == "/version":
        return 200, {"gitVersion": "v1.35.0"}
    if found := _GROUP.match(path):
        if found[1] not in api.versions:
            return 404, {"reason": "NotFound", "message": "the server could not find the requested resource"}
        versions = [{"version": v, "groupVersion": f"{found[1]}/{v}"} for v in api.versions[found[1]]]
        return 200, {"kind": "APIGroup", "name": found[1], "versions": versions}
    if found := _SERVICE.match(path):
        said = api.services.get("/".join(found.groups()))
        return (200, said) if said is not None else (404, {"reason": "NotFound", "message": "service not found"})
    if found := _RESOURCES.match(path):
        group, version = found.groups()
        if version not in api.versions.get(group, []):
            return 404, {"reason": "NotFound", "message": "the server could not find the requested resource"}
        return 200, {"resources": [{"name": plural} for known, plural in sorted(api.known) if known == group]}
    return None


def review(api: FakeApi, spec: dict[str, Any]) -> bool:
    """True if the user of an access review may make its call."""
    return api.rights(spec.get("user", "me"), spec["resourceAttributes"])
