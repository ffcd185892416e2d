"""The real predictor as a process of this machine: how it is started, and when it is ready."""

import sys
from pathlib import Path

import httpx

from components import processes


def start(folder: Path, name: str, port: int, record: Path) -> int:
    """Start the predictor on a release folder, bound to 127.0.0.1; returns the pid."""
    command = [
        *(sys.executable, "-m", "serving"),
        *("--model-dir", str(folder), "--model-name", name),
        *("--host", "127.0.0.1", "--http-port", str(port), "--grpc-port", "0"),
    ]
    return processes.start(command, record, {"port": port, "name": name}, {})


def answering_version(name: str, port: int) -> str | None:
    """The version that answers at the port, or None when none is ready."""
    base = f"http://127.0.0.1:{port}/v2/models/{name}"
    try:
        if httpx.get(f"{base}/ready", timeout=5).status_code != 200:
            return None
        answer = httpx.get(base, timeout=5)
        return str(answer.json()["versions"][0]) if answer.status_code == 200 else None
    except (httpx.HTTPError, LookupError, ValueError):
        return None


def wait_for(name: str, port: int, record: Path, version: str, *, seconds: float = 120) -> None:
    """Return once `version` answers; raises InputError with the log's end if it never does."""
    processes.wait_until(
        lambda: answering_version(name, port) == version,
        record,
        what=f"the predictor of {name} (version {version}, port {port})",
        seconds=seconds,
    )


def predict_url(name: str, port: int) -> str:
    """The V1 predict address of a predictor on this machine."""
    return f"http://127.0.0.1:{port}/v1/models/{name}:predict"
