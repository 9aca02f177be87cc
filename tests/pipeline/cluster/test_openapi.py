"""The fake refuses what the published OpenAPI does not allow, so that the other tests can fail."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.pipeline.cluster import openapi
from tests.pipeline.cluster.fake_kfp import FakeKfp

RUNS = "/apis/v2beta1/runs"
RECURRING = "/apis/v2beta1/recurringruns"
UPLOAD = "/apis/v2beta1/pipelines/upload_version"


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "said"),
    [
        ("POST", RUNS, {}, {"display_name": "a", "dispaly": "b"}, "dispaly"),
        ("POST", RUNS, {}, {"runtime_config": {"parameters": {}, "params": {}}}, "params"),
        ("POST", RUNS, {}, {"display_name": 1}, "display_name"),
        ("POST", RECURRING, {}, {"max_concurrency": 1}, "max_concurrency"),
        ("POST", RECURRING, {}, {"max_concurrency": "one"}, "max_concurrency"),
        ("POST", RECURRING, {}, {"mode": "ENABLED"}, "mode"),
        ("POST", RECURRING, {}, {"trigger": {"cron_schedule": {"start_time": "tomorrow"}}}, "start_time"),
        ("GET", RUNS, {"page": "1"}, None, "query page: unknown"),
        ("GET", RUNS, {"page_size": "many"}, None, "no integer"),
        ("GET", RUNS, {"filter": "name=x"}, None, "query filter"),
        ("GET", RUNS, {"filter": '{"predicates": [{"operation": "IS"}]}'}, None, "IS"),
        ("GET", RUNS, {}, {"display_name": "a"}, "a body where none belongs"),
        ("DELETE", f"{RECURRING}/x", {"propagation_policy": "orphan"}, None, "none of"),
        ("POST", UPLOAD, {"name": "x", "pipelineid": "y"}, None, "form uploadfile: missing"),
        ("GET", "/apis/v2beta1/run", {}, None, "no such call"),
        ("POST", f"{RUNS}/x:stop", {}, None, "no such call"),
    ],
)
def test_what_is_not_in_the_api_is_a_fault(method: str, path: str, query: dict[str, str], body: Any, said: str) -> None:
    openapi.needed()
    with FakeKfp() as fake:
        answer = requests.request(method, fake.url + path, params=query, json=body, timeout=10)
        assert answer.status_code in (400, 404)
        (fault,) = fake.faults
        assert said in fault


def test_an_answer_of_the_fake_that_the_api_does_not_know_is_a_fault() -> None:
    openapi.needed()
    with FakeKfp() as fake:
        fake.state.experiments["x"] = {"experiment_id": "x", "created": "today"}
        assert requests.get(f"{fake.url}/apis/v2beta1/experiments", timeout=10).ok
        assert "created" in fake.faults[0]
