"""Starts the dashboard: where the store and the endpoints are, and the server."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from botocore.config import Config

from components import processes, storage
from components.promote_model.targets.local import home_of, record_of
from pipelines import object_store
from pipelines.dashboard import models
from pipelines.dashboard.app import application
from pipelines.dashboard.endpoints import Endpoints, base_of, within
from pipelines.dashboard.reader import AT_ONCE, Reader
from serving.errors import InputError

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

LOOPBACK = ("127.0.0.1", "localhost")


def serve(state: Path, store: str | None, host: str, port: int, endpoint: str | None) -> None:
    """Serve the pages until the process is told to end.

    `endpoint` is an address with `{name}` in it where the rollouts' own cannot be reached. Raises
    InputError for one without, and when the port is taken.
    """
    if port and not processes.port_is_free(port):
        raise InputError(f"port {port} is in use by another process. Choose another with --port.")
    embedded = store is None and "AWS_ENDPOINT_URL_S3" not in os.environ

    def connect() -> "S3Client":
        return _client(_embedded(state) if embedded else {})

    reader = Reader(store or f"s3://{object_store.BUCKET}", connect)

    def locate(name: str) -> str | None:
        here = None
        if embedded:
            here = processes.read(record_of(home_of(state, name)))
        if here is not None:
            return f"http://127.0.0.1:{here['port']}"
        return base_of(models.rollout_url(reader, name))

    hosts = [*LOOPBACK, host] if host in LOOPBACK else ["*"]
    places = Endpoints(locate if endpoint is None else within(endpoint))
    pages = application(reader, places, hosts)
    uvicorn.run(pages, host=host, port=port, log_level="warning", access_log=False)


def _embedded(state: Path) -> Mapping[str, str]:
    facts = object_store.facts_if_running(state)
    if facts is None:
        raise InputError(
            f"the embedded object store of {state} does not run. `finegate up` starts it."
        )
    return object_store.variables(facts)


def _client(variables: Mapping[str, str]) -> "S3Client":
    """A client that gives up within seconds: a page waits for it."""
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 2},
        connect_timeout=2,
        read_timeout=10,
        max_pool_connections=2 * AT_ONCE,
    )
    return storage.connect(variables, config)
