"""What the fake API says of itself: its version, the kinds that it serves, who may do what, and services behind it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.sharpen.jobs.fake_api import FakeApi

_SERVICE = re.compile(r"^/api/v1/namespaces/([^/]+)/services/([^/:]+):(\d+)/proxy/(.*)$")
_RESOURCES = re.compile(r"^/apis/([^/]+)/([^/]+)/?$")


def answer_to(api: FakeApi, method: str, path: str, authorization: str) -> tuple[int, Any] | None:
    """Status and body for a question about the cluster; None when the path is one of an object."""
    if method != "GET":
        return None
    if authorization.partition(" ")[2] not in api.tokens:
        return None
    if path.rstrip("/") == "/version":
        return 200, {"gitVersion": "v1.35.0"}
    if path.rstrip("/") == "/apis":
        groups = [
            {"name": group, "versions": [{"version": v, "groupVersion": f"{group}/{v}"} for v in versions]}
            for group, versions in api.versions.items()
        ]
        return 200, {"kind": "APIGroupList", "groups": groups}
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
