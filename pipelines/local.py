"""The whole loop on this machine: embedded S3, kfp.local, a local endpoint."""

import contextlib
import json
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.console import Console

from components import promotions, storage
from components.promote_model.promotion import RolledBackError
from components.promote_model.rollout import roll_out
from components.promote_model.settings import LocalTarget, PromotionSettings
from components.promote_model.targets.local import chosen_port
from pipelines import object_store
from pipelines.config import RunConfig
from pipelines.progress import StepOutput
from serving.errors import InputError


class StepFailedError(Exception):
    """A step failed for a reason that is not its input; the message says where its log is."""


@dataclass(frozen=True)
class Run:
    """A finished run: its id, the gate's verdict, and the page about it on this machine."""

    id: str
    store: str
    verdict: dict[str, Any]
    report: Path


def run(
    config: RunConfig, state: Path, *, port: int, console: Console, tracebacks: bool = False
) -> Run:
    """Run the pipeline with kfp.local and promote to an endpoint on this machine.

    The steps run one process each, on the same DAG that compiles for a cluster. Raises InputError
    with the paragraph of the step that refused its input, RolledBackError when the endpoint did not
    come up with the candidate, and StepFailedError when a step failed for another reason.
    """
    target = LocalTarget(state=str(state.resolve()), port=port)
    chosen_port(target, config.name)  # a port in use is told now, not after the training
    store = use_store(state, config.store)
    run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid4().hex[:6]}"
    home = state / "runs" / run_id
    arguments = {
        **config.arguments(),
        "store": store,
        "run": run_id,
        "promotion": PromotionSettings(target=target).model_dump(mode="json"),
    }
    if "python3" in json.dumps(arguments):
        raise InputError(
            "a path or setting of this run contains `python3`, which kfp.local would replace by an "
            "interpreter's path. Move or rename it (the state folder counts too: --state)."
        )
    console.print(f"run {run_id}, log {home / 'run.log'}", highlight=False, soft_wrap=True)
    began = time.monotonic()
    with StepOutput(home / "run.log", console, tracebacks=tracebacks) as output:
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output.log):
                _execute(arguments, home)
        except RuntimeError as error:
            raise_if_rolled_back(store, config.name, run_id)
            if output.error is not None:
                raise InputError(output.error) from error
            raise StepFailedError(
                f"a step failed for a reason that is not its input; {home / 'run.log'} has its "
                "traceback. Running again resumes after the last step that finished."
            ) from error
    console.print(f"pipeline finished in {time.monotonic() - began:.0f} s", highlight=False)
    verdict = storage.read_json(f"{store}/runs/{run_id}/verdict.json")
    report = home / "report.html"
    report.write_bytes(storage.read_bytes(f"{store}/runs/{run_id}/report.html") or b"")
    return Run(run_id, store, verdict, report)


def raise_if_rolled_back(store: str, name: str, run_id: str) -> None:
    """Tell a promotion that went back from other failures of the step: the log knows it."""
    champion = promotions.champion(store, name)
    if champion is not None and (champion.action, champion.run) == ("rollback", run_id):
        raise RolledBackError(f"{champion.reason}. The champion of {name} is {champion.version}.")


def _execute(arguments: dict[str, Any], home: Path) -> None:
    from kfp import local

    from pipelines.train_and_promote import train_and_promote

    # A pod is tried again after a pause; here it would take minutes to tell of a refused input.
    pipeline = train_and_promote.pipeline_spec
    for component in (pipeline.root, *pipeline.components.values()):
        for task in component.dag.tasks.values():
            task.ClearField("retry_policy")
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(home / "artifacts"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # our images are no python images: true
        train_and_promote(**arguments)


def use_store(state: Path, store: str | None) -> str:
    """Point this process and its children at the store; returns its address.

    Without `store` and AWS_ENDPOINT_URL_S3 the embedded server is started. Raises InputError when
    the server does not answer, refuses us, or ignores conditional writes.
    """
    if store is None and "AWS_ENDPOINT_URL_S3" not in os.environ:
        os.environ.update(object_store.start(state))
        storage.client.cache_clear()
    address = (store or f"s3://{object_store.BUCKET}").rstrip("/")
    storage.check(address)
    return address


def promotion_settings(state: Path) -> PromotionSettings:
    """Promotion to this machine's endpoint."""
    return PromotionSettings(target=LocalTarget(state=str(state.resolve())))


def models(store: str) -> Iterator[tuple[str, promotions.Promotion]]:
    """Every model that has a champion, with it."""
    for name in storage.list_folders(f"{store}/models"):
        champion = promotions.champion(store, name)
        if champion is not None:
            yield name, champion


def bring_up(state: Path, store: str) -> list[str]:
    """Start the endpoint of every champion; returns where they answer."""
    settings = promotion_settings(state)
    return [roll_out(store, name, settings)[1] for name, _ in models(store)]
