"""The real thing: a store with a user who may only read, a predictor, and the command itself."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright

from components import predictor_process, processes, storage
from pipelines import object_store
from tests.pipelines.dashboard import many_runs

CHROMIUM = shutil.which("chromium")
ADDRESS = f"s3://{object_store.BUCKET}/team"
RUNS = 200


@dataclass(frozen=True)
class Site:
    """A running dashboard over a store of its own."""

    url: str
    store: dict[str, str]
    """The AWS variables of the user who writes."""
    reader: dict[str, str]
    """Those of the dashboard's, who may read and list."""
    start_store: Callable[[], None]
    stop_store: Callable[[], object]
    log: Path
    model: str = "hotel-reviews"

    def promote(self, number: int, version: str, reason: str) -> None:
        """Promote a version of `model`, as another process does."""
        with environment(self.store):
            many_runs.promote(ADDRESS, self.model, number, version, "", reason)


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """The S3 variables of this process, for a while."""
    before = dict(os.environ)
    os.environ.update(variables)
    storage.client.cache_clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        storage.client.cache_clear()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Site]:
    """`finegate dashboard` over 3 models and 200 runs; one model's endpoint answers."""
    home = tmp_path_factory.mktemp("dashboard")
    record, predictor = home / "store.json", home / "predictor.json"
    writer, reader = _users(home)
    ports = processes.free_ports(len(object_store._PORTS) + 2)
    named = dict(zip(object_store._PORTS, ports, strict=False))
    http, port = ports[-2:]
    facts = {
        "ports": named,
        "access_key": writer["AWS_ACCESS_KEY_ID"],
        "secret_key": writer["AWS_SECRET_ACCESS_KEY"],
    }
    (home / "data").mkdir()

    def start_store() -> None:
        command = object_store._command(home / "data", named)
        processes.start([*command, f"-s3.config={home / 'users.json'}"], record, facts, {})
        processes.wait_until(
            lambda: object_store._ready(facts), record, what="the store", seconds=60
        )

    where = object_store.variables(facts)
    store, reading = {**where, **writer}, {**where, **reader}
    url = f"http://127.0.0.1:{http}"
    command = ["dashboard", "--store", ADDRESS, "--port", str(http), "--state", str(home)]
    dashboard = None
    try:
        predictor_process.start(tiny_model, "hotel-reviews", port, predictor)
        with (home / "log").open("wb") as log:  # they start while the store is filled
            dashboard = subprocess.Popen(
                [sys.executable, "-c", "from pipelines.cli import main; main()", *command],
                env={**os.environ, **reading},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        start_store()
        with environment(store):
            many_runs.fill(ADDRESS, RUNS)
            many_runs.roll_out(ADDRESS, "hotel-reviews", f"http://127.0.0.1:{port}")
            many_runs.roll_out(ADDRESS, "film-reviews", "http://127.0.0.1:1")
        predictor_process.wait_for("hotel-reviews", port, predictor, "unreleased")
        _wait_for(f"{url}/healthz", dashboard)
        yield Site(
            url,
            store,
            reading,
            start_store,
            lambda: processes.stop(record, seconds=0),
            home / "log",
        )
    finally:
        if dashboard is not None:
            dashboard.terminate()
            dashboard.wait(20)
        processes.stop(predictor)
        processes.stop(record, seconds=0)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium without a window; its driver keeps a running event loop until it ends."""
    if CHROMIUM is None:
        pytest.skip("no chromium is installed (apt-get install chromium)")
    with sync_playwright() as driver:
        # Its sandbox needs user namespaces, which a container's root has not.
        browser = driver.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False)
        yield browser
        browser.close()


def _users(home: Path) -> tuple[dict[str, str], dict[str, str]]:
    users = {
        "writer": ["Admin", "Read", "Write", "List"],
        "reader": ["Read", "List"],
    }
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": name, "secretKey": f"the-secret-of-{name}"}],
            "actions": actions,
        }
        for name, actions in users.items()
    ]
    (home / "users.json").write_text(json.dumps({"identities": identities}))
    writer, reader = (
        {"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": f"the-secret-of-{name}"}
        for name in users
    )
    return writer, reader


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"the dashboard did not come up (exit status {process.poll()})")
