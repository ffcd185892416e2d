"""KFP's API server: a client with clear errors, listings without pages, the pipeline uploaded."""

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from pydantic import BaseModel, ConfigDict

from serving.errors import InputError

PIPELINE = "finegate-train-and-promote"
PAGE = 100
"""KFP serves 200 items a page at most."""
SECONDS = 10
_NO_ANSWER = (
    "no Kubeflow Pipelines answers ({}). Give its address with --host or KF_PIPELINES_ENDPOINT, "
    "such as the one that `kubectl port-forward` prints."
)


class Place(BaseModel):
    """Where on a cluster runs are made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str | None = None
    """Address of KFP's API; unset takes KF_PIPELINES_ENDPOINT, the pod's cluster or kubeconfig."""
    namespace: str | None = None
    """The profile's namespace, where KFP has several users; unset where it has one."""
    experiment: str = "finegate"
    registry: str = ""
    """Where the steps' images are pulled from, such as registry.example.com/team; it is put before
    finegate/data and finegate/trainer."""
    service_account: str = "finegate-pipeline"
    """Account of the runs' pods; in a profile, default-editor."""


def connect(place: Place) -> Any:
    """A kfp.Client. Raises InputError when the server does not answer."""
    import kfp
    from kfp.client.client import KF_PIPELINES_ENDPOINT_ENV

    # kfp itself would try for half a minute and print a traceback each time.
    host = place.host or os.environ.get(KF_PIPELINES_ENDPOINT_ENV)
    if host:
        _must_answer(host if host.startswith("http") else f"https://{host}")
    with errors("reach the API"), quiet():
        return kfp.Client(host=place.host)


def _must_answer(host: str) -> None:
    try:
        requests.get(f"{host.rstrip('/')}/apis/v2beta1/healthz", timeout=SECONDS)
    except requests.RequestException as error:
        raise InputError(_NO_ANSWER.format(f"{host}: {type(error).__name__}")) from error


@contextmanager
def errors(doing: str) -> Iterator[None]:
    """Turn KFP's and its transport's failures into InputError."""
    from kfp_server_api.exceptions import ApiException
    from kubernetes.config.config_exception import ConfigException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise InputError(
            f"Kubeflow Pipelines refused to {doing}: {error.status} {error.reason}: "
            f"{_message(error)}. Check the host, your rights in the namespace, and that the "
            "server is of KFP 2."
        ) from error
    except (ConfigException, HTTPError, TimeoutError) as error:
        raise InputError(_NO_ANSWER.format(error)) from error


def _message(error: Any) -> str:
    body = error.body.decode() if isinstance(error.body, bytes) else str(error.body or "")
    return " ".join(body.split())[:300]


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what kfp prints: links of a console that may not be reachable, and a warning."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def every(call: Callable[..., Any], field: str, **arguments: Any) -> Iterator[Any]:
    """Every item of a listing, page after page."""
    token = ""
    while True:
        page = call(page_token=token, page_size=PAGE, **arguments)
        yield from getattr(page, field) or []
        token = page.next_page_token or ""
        if not token:
            return


def find_experiment(client: Any, place: Place) -> str | None:
    """Id of the experiment, or None."""
    with errors("list experiments"):
        for each in every(client.list_experiments, "experiments", namespace=place.namespace):
            if each.display_name == place.experiment:
                return str(each.experiment_id)
    return None


def experiment(client: Any, place: Place) -> str:
    """Id of the experiment, which is made if it is not there."""
    with errors(f"make the experiment {place.experiment}"), quiet():
        made = client.create_experiment(place.experiment, namespace=place.namespace)
    return str(made.experiment_id)


def pipeline_version(client: Any, place: Place) -> tuple[str, str]:
    """Ids of the pipeline and of the version with this code's IR, uploaded if it is not there."""
    from pipelines import compile as ir  # kfp compiles on import, which takes seconds

    content, version = ir.compiled(place.registry)
    with tempfile.TemporaryDirectory() as folder, errors("upload the pipeline"), quiet():
        package = Path(folder) / f"{version}.yaml"
        package.write_bytes(content)
        pipeline = _pipeline(client, place, package)
        for each in every(client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline):
            if each.display_name == version:
                return pipeline, str(each.pipeline_version_id)
        made = client.upload_pipeline_version(
            str(package), pipeline_version_name=version, pipeline_id=pipeline
        )
        return pipeline, str(made.pipeline_version_id)


def _pipeline(client: Any, place: Place, package: Path) -> str:
    for each in every(client.list_pipelines, "pipelines", namespace=place.namespace):
        if each.display_name == PIPELINE:
            return str(each.pipeline_id)
    made = client.upload_pipeline(str(package), pipeline_name=PIPELINE, namespace=place.namespace)
    return str(made.pipeline_id)
