"""The laptop's endpoint: a KServe ModelServer process that swaps releases without a pause."""

import shutil
import signal
from pathlib import Path
from typing import Any

from components import folders, predictor_process, processes
from components.console import say
from components.promote_model.settings import LocalTarget
from components.promote_model.targets.base import RolloutFailedError
from components.promotions import RELEASE
from components.storage import json_bytes
from serving.errors import InputError

STEP = "promote_model"


class LocalEndpoint:
    """One process a model under `<state>/endpoints/<name>/`.

    The process serves the folder that the link `current` points to, and loads it anew on SIGHUP
    while the old model goes on answering: not one request is lost.
    """

    def __init__(self, target: LocalTarget) -> None:
        self._target = target

    def roll_out(self, name: str, uri: str, release: dict[str, Any], *, carefully: bool) -> str:
        """Fetch the release, point `current` at it, and start or refresh the process."""
        home = home_of(Path(self._target.state), name)
        record, version = record_of(home), release["version"]
        port = chosen_port(self._target, name)
        folder = home / "releases" / version
        folders.fetch(uri, folder, release)
        (folder / RELEASE).write_bytes(json_bytes(release))
        before = _point(home / "current", folder)
        process = processes.running(record)
        try:
            if process is None:
                predictor_process.start(home / "current", name, port, record)
            elif predictor_process.answering_version(name, port) != version:
                process.send_signal(signal.SIGHUP)
            predictor_process.wait_for(name, port, record, version)
        except InputError as error:
            if before is not None:
                _point(home / "current", before)
            raise RolloutFailedError(str(error)) from error
        for old in (home / "releases").iterdir():
            if old not in (folder, before):
                shutil.rmtree(old)
        url = predictor_process.predict_url(name, port)
        say(STEP, f"{name} {version} answers at {url}")
        return url


def chosen_port(target: LocalTarget, name: str) -> int:
    """The port that the endpoint has, had, or will have.

    Raises InputError when the port asked for is taken, or differs from the running endpoint's.
    """
    record = record_of(home_of(Path(target.state), name))
    facts = processes.read(record)
    recorded = int(facts["port"]) if facts else 0
    wanted = target.port or recorded
    if processes.running(record) is not None:
        if wanted != recorded:
            raise InputError(
                f"the endpoint runs on port {recorded}, and port {wanted} was asked for. Stop it "
                "with `finegate down` first, or leave the port as it is."
            )
        return recorded
    if wanted and not processes.port_is_free(wanted):
        if target.port:
            raise InputError(
                f"port {wanted} is in use by another process. Choose another with --port, or 0 "
                "for a free one."
            )
        wanted = 0
    return wanted or processes.free_ports(1)[0]


def home_of(state: Path, name: str) -> Path:
    """The folder of a model's endpoint."""
    return state / "endpoints" / name


def record_of(home: Path) -> Path:
    """The process record of a model's endpoint."""
    return home / "endpoint.json"


def _point(link: Path, folder: Path) -> Path | None:
    """Point `link` at `folder` in one step; returns where it pointed before."""
    before = link.resolve() if link.is_symlink() else None
    fresh = link.with_name("current.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.resolve())
    fresh.replace(link)
    return before if before != folder.resolve() else None
