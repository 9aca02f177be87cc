"""The session on the cluster, and the table of what its tests found."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.pods import STORE_CONFIG
from sharpen.jobs.kubernetes.permissions import Permission
from tests.cluster import results
from tests.cluster.environment import Environment, from_variables, missing
from tests.cluster.live_cluster import LiveCluster
from tests.cluster.runs import Session
from tests.cluster.waiting import patience

_ROWS = pytest.StashKey[list[results.Row]]()
_FIGURES = pytest.StashKey[results.Figures]()
MARKER = "cluster"
# The first whole run finds nothing that is cached; what others find cached is its work.
ORDER = (
    "test_runs",
    "test_search",
    "test_security",
    "test_reasons",
    "test_schedules",
    "test_jobs",
    "test_racing",
    "test_survival",
)


def pytest_configure(config: pytest.Config) -> None:
    """Nothing is found yet."""
    config.stash[_ROWS] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a cluster its tests are skipped, with what is missing; with one they have an order."""
    live = {item for item in items if item.get_closest_marker(MARKER)}
    items.sort(key=lambda item: ORDER.index(item.path.stem) if item in live and item.path.stem in ORDER else -1)
    why = missing(os.environ)
    for item in items:
        if why and item in live:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def environment() -> Environment:
    """The cluster that the variables name."""
    return from_variables(os.environ)


@pytest.fixture(scope="session")
def cluster(environment: Environment) -> LiveCluster:
    """Its API, in the namespace that runs execute in."""
    return LiveCluster(environment.namespace, secrets.token_hex(3))


@pytest.fixture(scope="session")
def session(
    environment: Environment, cluster: LiveCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Session]:
    """Names that nothing else has; what was made under them is removed in the end."""
    from pipeline.cluster.api.connection import connect
    from pipeline.cluster.api.settings import ConnectionSettings

    config = cluster.data("configmaps", STORE_CONFIG) or {}
    store = environment.store or f"{config.get('SHARPEN_STORE', '')}"
    assert store, f"no store: set SHARPEN_TEST_STORE, or apply k8s/ to namespace {environment.namespace}"
    api = connect(ConnectionSettings.given(endpoint=environment.endpoint, namespace=environment.namespace))
    # a test that restarts the API is over before the API is back
    with api.patience(300):
        session = Session(environment, cluster, api, store, tmp_path_factory.mktemp("empty"))
        try:
            yield session
        finally:
            session.close()


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    """What a test undoes, the last first, whether it passed or not; one thing that fails does not keep the others."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> results.Figures:
    """What the test measures, for the table."""
    item: pytest.Item = request.node
    return item.stash.setdefault(_FIGURES, results.Figures(patience()))


@pytest.fixture
def disruptive(environment: Environment) -> None:
    """Skips a test that everybody on the cluster notices, unless that is allowed."""
    if environment.disruptive != "1":
        pytest.skip("everybody on the cluster would notice: SHARPEN_TEST_DISRUPTIVE=1 allows it")


def needs(cluster: LiveCluster, *rights: str) -> None:
    """Skip a test whose user lacks a right, such as ``delete pods`` or ``create resourcequotas``."""
    for right in rights:
        verb, _, resource = right.partition(" ")
        resource, _, group = resource.partition(".")
        if not cluster.allowed(Permission(group, resource, verb)):
            pytest.skip(f"you may not {right} in namespace {cluster.namespace}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A row for each test of the cluster."""
    outcome = yield
    if not item.get_closest_marker(MARKER):
        return
    report: pytest.TestReport = outcome.get_result()
    rows = item.config.stash[_ROWS]
    if report.when == "setup":
        rows.append(results.Row(item.name.removeprefix("test_").replace("_", " ")))
    row = rows[-1]
    row.seconds += report.duration
    if report.when == "call" or report.outcome != "passed":
        row.outcome = report.outcome if report.when != "teardown" else "failed"
        row.reason = reason(report)
    if found := item.stash.get(_FIGURES, None):
        row.figures = found.found


def reason(report: pytest.TestReport) -> str:
    """Why a test failed or was skipped, in one line; empty: it passed."""
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message).strip().splitlines()[0] if crash else ""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table, on the terminal and as a page."""
    rows = config.stash[_ROWS]
    if not rows or all(row.outcome == "skipped" for row in rows):
        return
    environment = from_variables(os.environ)
    path = Path(environment.results)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = f"Image {environment.image}, namespace {environment.namespace}, limits times {environment.patience}."
    path.write_text(results.as_markdown(rows, about), encoding="utf-8")
    terminalreporter.section("on the cluster")
    for line in [*results.as_lines(rows), f"the same as a table: {path}"]:
        terminalreporter.write_line(line)
