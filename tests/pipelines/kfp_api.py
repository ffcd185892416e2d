"""A contract fake of KFP's v2beta1 API: real HTTP, requests and answers in kfp_server_api's models.

It behaves as the server does where schedules depend on it: a recurring run cannot be updated, two
may have the same name, both ids of a pipeline version are required, cron has six fields, listings
come in pages.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import kfp_server_api as kfp

from tests.http_servers import Handler, listening


class RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class KfpApi:
    """The server's state and what was asked of it."""

    def __init__(self, page: int = 200) -> None:
        self.page = page
        self.experiments: dict[str, kfp.V2beta1Experiment] = {}
        self.pipelines: dict[str, kfp.V2beta1Pipeline] = {}
        self.versions: dict[str, kfp.V2beta1PipelineVersion] = {}
        self.packages: dict[str, bytes] = {}
        self.recurring_runs: dict[str, kfp.V2beta1RecurringRun] = {}
        self.runs: dict[str, kfp.V2beta1Run] = {}
        self.logs: dict[tuple[str, str], str] = {}
        self.calls: list[str] = []
        self.fail: Callable[[str], bool] = lambda call: False
        """Calls for which the server dies before it does anything."""
        self.url = ""
        self._clock = datetime(2026, 1, 1, tzinfo=UTC)
        self._models = kfp.ApiClient()

    def now(self) -> datetime:
        """A later time at each call, as created_at."""
        self._clock += timedelta(seconds=1)
        return self._clock

    def changes(self) -> list[str]:
        """The calls that change something."""
        return [call for call in self.calls if not call.startswith("GET")]

    def read(self, body: bytes, model: str) -> Any:
        """Parse a request; a field that the model does not have is refused, as protobuf does."""
        document = json.loads(body)
        known = set(getattr(kfp, model).attribute_map.values())
        if not set(document) <= known:
            raise RefusedError(400, f"unknown fields {sorted(set(document) - known)}")

        class Answer:
            data = body.decode()

        return self._models.deserialize(Answer(), model)

    def answer(self, model: Any) -> bytes:
        """The JSON of a model."""
        return json.dumps(self._models.sanitize_for_serialization(model)).encode()

    def listed(self, items: list[Any], query: dict[str, list[str]]) -> tuple[list[Any], str]:
        """One page and the next one's token."""
        predicates = json.loads(query.get("filter", ["{}"])[0] or "{}").get("predicates", [])
        for predicate in predicates:
            items = [i for i in items if getattr(i, predicate["key"]) == predicate["stringValue"]]
        if "experiment_id" in query:
            items = [i for i in items if i.experiment_id == query["experiment_id"][0]]
        items = sorted(items, key=lambda item: str(item.created_at))
        if "desc" in query.get("sort_by", [""])[0]:
            items.reverse()
        start = int(query.get("page_token", ["0"])[0] or 0)
        size = min(int(query.get("page_size", ["10"])[0]), self.page)
        rest = len(items) > start + size
        return items[start : start + size], str(start + size) if rest else ""

    def handle(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> bytes:
        """Answer one request."""
        for verb, pattern, action in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and verb == method:
                return action(self, match.groupdict(), query, body)
        raise RefusedError(404, f"no such address: {method} {path}")


def _list(field: str, model: str, items: str) -> Callable[..., bytes]:
    def act(api: KfpApi, ids: dict[str, str], query: Any, body: bytes) -> bytes:
        found = list(getattr(api, items).values())
        if "pipeline" in ids:
            found = [each for each in found if each.pipeline_id == ids["pipeline"]]
        page, token = api.listed(found, query)
        return api.answer(getattr(kfp, model)(**{field: page}, next_page_token=token))

    return act


def _create_experiment(api: KfpApi, ids: Any, query: Any, body: bytes) -> bytes:
    made = api.read(body, "V2beta1Experiment")
    made.experiment_id, made.created_at = str(uuid4()), api.now()
    api.experiments[made.experiment_id] = made
    return api.answer(made)


def _upload(api: KfpApi, ids: Any, query: Any, body: bytes) -> bytes:
    pipeline = kfp.V2beta1Pipeline(
        pipeline_id=str(uuid4()), display_name=query["name"][0], created_at=api.now()
    )
    if any(each.display_name == pipeline.display_name for each in api.pipelines.values()):
        raise RefusedError(409, "a pipeline of this name exists")
    api.pipelines[pipeline.pipeline_id] = pipeline
    _add_version(api, pipeline.pipeline_id, query["name"][0], body)
    return api.answer(pipeline)


def _upload_version(api: KfpApi, ids: Any, query: Any, body: bytes) -> bytes:
    return api.answer(_add_version(api, query["pipelineid"][0], query["name"][0], body))


def _add_version(api: KfpApi, pipeline: str, name: str, body: bytes) -> Any:
    for each in api.versions.values():
        if (each.pipeline_id, each.display_name) == (pipeline, name):
            raise RefusedError(409, "a version of this name exists")
    made = kfp.V2beta1PipelineVersion(
        pipeline_id=pipeline,
        pipeline_version_id=str(uuid4()),
        display_name=name,
        created_at=api.now(),
    )
    api.versions[made.pipeline_version_id] = made
    api.packages[made.pipeline_version_id] = body
    return made


def _reference(api: KfpApi, made: Any) -> None:
    reference = made.pipeline_version_reference
    if reference is None or not (reference.pipeline_id and reference.pipeline_version_id):
        raise RefusedError(400, "pipeline_version_reference needs both ids")
    version = api.versions.get(reference.pipeline_version_id)
    if version is None or version.pipeline_id != reference.pipeline_id:
        raise RefusedError(404, "no such pipeline version")
    if made.experiment_id not in api.experiments:
        raise RefusedError(404, "no such experiment")


def _create_recurring_run(api: KfpApi, ids: Any, query: Any, body: bytes) -> bytes:
    made = api.read(body, "V2beta1RecurringRun")
    _reference(api, made)
    cron = made.trigger and made.trigger.cron_schedule
    if not cron or len(cron.cron.split()) != 6:
        raise RefusedError(400, "cron needs six fields")
    if not 1 <= int(made.max_concurrency) <= 10:
        raise RefusedError(400, "max_concurrency is 1 to 10")
    made.recurring_run_id, made.created_at = str(uuid4()), api.now()
    made.status = "ENABLED" if made.mode == "ENABLE" else "DISABLED"
    api.recurring_runs[made.recurring_run_id] = made
    return api.answer(made)


def _switch(mode: str) -> Callable[..., bytes]:
    def act(api: KfpApi, ids: dict[str, str], query: Any, body: bytes) -> bytes:
        if ids["id"] not in api.recurring_runs:
            raise RefusedError(404, "no such recurring run")
        api.recurring_runs[ids["id"]].mode = mode
        return b"{}"

    return act


def _delete_recurring_run(api: KfpApi, ids: dict[str, str], query: Any, body: bytes) -> bytes:
    if api.recurring_runs.pop(ids["id"], None) is None:
        raise RefusedError(404, "no such recurring run")
    return b"{}"


def _create_run(api: KfpApi, ids: Any, query: Any, body: bytes) -> bytes:
    made = api.read(body, "V2beta1Run")
    _reference(api, made)
    made.run_id, made.created_at, made.state = str(uuid4()), api.now(), "PENDING"
    api.runs[made.run_id] = made
    return api.answer(made)


def _get_run(api: KfpApi, ids: dict[str, str], query: Any, body: bytes) -> bytes:
    if ids["id"] not in api.runs:
        raise RefusedError(404, "no such run")
    return api.answer(api.runs[ids["id"]])


def _log(api: KfpApi, ids: dict[str, str], query: Any, body: bytes) -> bytes:
    if (ids["id"], ids["node"]) not in api.logs:
        raise RefusedError(404, "no such log")
    return api.logs[ids["id"], ids["node"]].encode()


def _healthz(api: KfpApi, ids: Any, query: Any, body: bytes) -> bytes:
    return api.answer(kfp.V2beta1GetHealthzResponse(multi_user=False))


V2 = "/apis/v2beta1"
ROUTES: list[tuple[str, str, Callable[..., bytes]]] = [
    ("GET", f"{V2}/healthz", _healthz),
    (
        "GET",
        f"{V2}/experiments",
        _list("experiments", "V2beta1ListExperimentsResponse", "experiments"),
    ),
    ("POST", f"{V2}/experiments", _create_experiment),
    ("GET", f"{V2}/pipelines", _list("pipelines", "V2beta1ListPipelinesResponse", "pipelines")),
    ("POST", f"{V2}/pipelines/upload", _upload),
    ("POST", f"{V2}/pipelines/upload_version", _upload_version),
    (
        "GET",
        f"{V2}/pipelines/(?P<pipeline>[^/]+)/versions",
        _list("pipeline_versions", "V2beta1ListPipelineVersionsResponse", "versions"),
    ),
    (
        "GET",
        f"{V2}/recurringruns",
        _list("recurring_runs", "V2beta1ListRecurringRunsResponse", "recurring_runs"),
    ),
    ("POST", f"{V2}/recurringruns", _create_recurring_run),
    ("POST", f"{V2}/recurringruns/(?P<id>[^/:]+):enable", _switch("ENABLE")),
    ("POST", f"{V2}/recurringruns/(?P<id>[^/:]+):disable", _switch("DISABLE")),
    ("DELETE", f"{V2}/recurringruns/(?P<id>[^/:]+)", _delete_recurring_run),
    ("GET", f"{V2}/runs", _list("runs", "V2beta1ListRunsResponse", "runs")),
    ("POST", f"{V2}/runs", _create_run),
    ("GET", f"{V2}/runs/(?P<id>[^/:]+)", _get_run),
    ("GET", "/apis/v1alpha1/runs/(?P<id>[^/]+)/nodes/(?P<node>[^/]+)/log", _log),
]


@contextmanager
def serving(api: KfpApi) -> Iterator[KfpApi]:
    """Serve the fake on a free port of this machine; `api.url` is its address."""

    class Kfp(Handler):
        def do_GET(self) -> None:
            self._do()

        do_POST = do_DELETE = do_GET

        def _do(self) -> None:
            place = urlsplit(self.path)
            body = self.body()
            call = f"{self.command} {place.path.removeprefix(V2)}"
            api.calls.append(call)
            try:
                if api.fail(call):
                    raise RefusedError(500, "the server died")
                answer = api.handle(self.command, place.path, parse_qs(place.query), body)
            except RefusedError as refused:
                self.send_json({"message": str(refused)}, refused.status)
            else:
                self.send(200, answer, {"Content-Type": "application/json"})

    with listening(Kfp) as api.url:
        yield api
