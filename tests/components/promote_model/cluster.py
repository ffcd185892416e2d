"""A cluster of one InferenceService, in this process and over real HTTP.

The API server keeps fields by manager as server-side apply does, refuses what the CRD does not
know (where the CRDs lie in ../shared/crds), and streams watches. Its controller writes the status
as KServe 0.21 does, in more than one step: stale first, as on a cluster. Its gateway answers
predictions by the traffic that the controller has set.
"""

import copy
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests import http_servers
from tests.components import kubeconfig
from tests.http_servers import Handler

CRDS = Path(__file__).parent.parent.parent.parent.parent / "shared" / "crds"
PREFIX = "/apis/serving.kserve.io/v1beta1/namespaces/team/inferenceservices"
SCORES = {"bad": 0.25, "good": 0.75}
"""What every healthy version answers to every text."""
BLOCKED = {
    "transitionStatus": "BlockedByFailedLoad",
    "lastFailureInfo": {"reason": "ModelLoadFailed", "message": "no such file"},
}


class Cluster:
    """The InferenceService team/hotels and everything that acts on it but finegate."""

    def __init__(self, mode: str, on_traffic: Callable[[str], None] = lambda uri: None) -> None:
        self.mode, self.on_traffic = mode, on_traffic
        self.behaviours: dict[str, str] = {}
        """By version: wrong, failing, slow, unready or broken; others are healthy."""
        self.verbs: set[str] = set()
        self.patches: list[dict[str, Any]] = []
        self.traffic: list[tuple[str, int]] = []
        """Model addresses with their percent, as the gateway splits them."""
        self.asked = 0
        self.absent = False
        """Whether team/hotels is still to be created."""
        self.public = ""
        """The URL in the status, where it is not the gateway's own address."""
        self.hosts: set[str] = set()
        self.watches, self.breaks_watches = 0, False
        self._changed = threading.Condition()
        self._asking = threading.Lock()
        self._revisions: list[str] = []
        self._pinned = ""
        self._canaries: list[str] = []
        self._template: str | None = None
        self._generation_below = 0
        self.object: dict[str, Any] = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {
                "name": "hotels",
                "namespace": "team",
                "generation": 1,
                "resourceVersion": "1",
                "annotations": {"serving.kserve.io/deploymentMode": mode},
                "managedFields": [],
            },
            "spec": {
                "predictor": {
                    "minReplicas": 2,
                    "model": {"modelFormat": {"name": "finegate"}, "runtime": "finegate"},
                }
            },
        }
        self._api = http_servers.start(self._api_handler())
        self._gateway = http_servers.start(self._gateway_handler())

    @property
    def api(self) -> str:
        return self._api.url

    @property
    def url(self) -> str:
        return self._gateway.url

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here."""
        return kubeconfig.write(path, self.api)

    def stop(self) -> None:
        for server in (self._api, self._gateway):
            server.stop()

    @property
    def serving(self) -> str | None:
        """The stable model address in the spec."""
        uri: str | None = self.object["spec"]["predictor"]["model"].get("storageUri")
        return uri

    # The API server.

    def apply(self, body: dict[str, Any], manager: str) -> dict[str, Any]:
        """Merge what `manager` claims; drop what it claimed before and no longer does."""
        with self._changed:
            before = copy.deepcopy(self.object)
            metadata = self.object["metadata"]
            entries = [m for m in metadata["managedFields"] if m["manager"] != manager]
            mine = next((m for m in metadata["managedFields"] if m["manager"] == manager), None)
            if self.absent:
                self.absent = False
                before = {}
                self.object["spec"] = {}
                metadata["annotations"] = body["metadata"].get("annotations", {})
            claimed = _leaves(body["spec"], ("spec",))
            dropped = _paths(mine["fieldsV1"]) - set(claimed) if mine else set()
            for path in dropped:
                if not any(path in _paths(other["fieldsV1"]) for other in entries):
                    _remove(self.object, path)
            for path, value in claimed.items():
                _put(self.object, path, value)
            fields: dict[str, Any] = {}
            for path in claimed:
                place = fields
                for part in path:
                    place = place.setdefault(f"f:{part}", {})
            metadata["managedFields"] = [
                *entries,
                {"manager": manager, "operation": "Apply", "fieldsV1": fields},
            ]
            if before.get("spec") != self.object["spec"]:
                metadata["generation"] += 1
            if before != self.object:
                self._bump()
                threading.Thread(target=self._reconcile, daemon=True).start()
            return copy.deepcopy(self.object)

    def recover(self, version: str) -> None:
        """Its pods become healthy."""
        del self.behaviours[version]
        self._reconcile()

    def _bump(self) -> None:
        self.object["metadata"]["resourceVersion"] = str(
            int(self.object["metadata"]["resourceVersion"]) + 1
        )
        self._changed.notify_all()

    # The controller.

    def _reconcile(self) -> None:
        with self._changed:
            status = copy.deepcopy(self.object.get("status", {}))
            status.update(deploymentMode=self.mode, url=self.public or self.url)
            # A first pass that has not seen the pods: only bookkeeping changes.
            status.setdefault("conditions", [{"type": "Ready", "status": "Unknown"}])
            self._write(status)
        with self._changed:
            predictor = self.object["spec"]["predictor"]
            if self.mode == "Knative":
                self._reconcile_knative(predictor)
            else:
                self._reconcile_standard(predictor, self.object["spec"].get("canary") or [])

    def _write(self, status: dict[str, Any]) -> None:
        if status != self.object.get("status"):
            self.object["status"] = status
            self._bump()

    def _set_traffic(self, traffic: list[tuple[str, int]]) -> None:
        self.traffic = [(uri, percent) for uri, percent in traffic if percent > 0]
        for uri, _ in self.traffic:
            self.on_traffic(uri)

    def _reconcile_standard(self, predictor: dict[str, Any], canaries: list[Any]) -> None:
        uri = predictor["model"].get("storageUri")
        if uri is None:
            return
        status = copy.deepcopy(self.object["status"])
        if uri != self._template:
            if uri not in self._canaries:  # else a Deployment of the same pods takes over
                self._generation_below += 1
                status["conditions"] = _conditions("MinimumReplicasAvailable")
                status["observedGeneration"] = self._generation_below
                self._write(copy.deepcopy(status))
            self._template = uri
        if self._behaviour(uri) in ("broken", "unready"):
            if self._behaviour(uri) == "broken":
                status["modelStatus"] = BLOCKED
                self._write(status)
            return
        entries = []
        for canary in canaries:
            address = canary["predictor"]["model"]["storageUri"]
            ready = self._behaviour(address) not in ("unready", "broken")
            entries.append((canary, address, ready))
        split = [(a, c["trafficPercent"]) for c, a, ready in entries if ready]
        self._canaries = [address for _, address, _ in entries]
        self._set_traffic([(uri, 100 - sum(p for _, p in split)), *split])
        status["conditions"] = _conditions("NewReplicaSetAvailable")
        status["modelStatus"] = {"transitionStatus": "UpToDate"}
        status["canaryStatuses"] = [
            {
                "name": c["predictor"]["name"],
                "ready": ready,
                "trafficPercent": c["trafficPercent"],
            }
            for c, _, ready in entries
        ]
        if not entries:
            del status["canaryStatuses"]
        self._write(status)

    def _reconcile_knative(self, predictor: dict[str, Any]) -> None:
        uri = predictor["model"].get("storageUri")
        if uri is None:
            return
        status = copy.deepcopy(self.object["status"])
        status["observedGeneration"] = status.get("observedGeneration", 0) + 1
        revisions = status.setdefault("components", {}).setdefault("predictor", {})
        if not self._revisions or self._revisions[-1] != uri:
            self._revisions.append(uri)
            revisions["latestCreatedRevision"] = f"hotels-predictor-{len(self._revisions):05d}"
            status["conditions"] = [{"type": "Ready", "status": "Unknown"}]
            self._write(copy.deepcopy(status))
        newest = revisions["latestCreatedRevision"]
        ready = self._behaviour(uri) not in ("unready", "broken")
        if self._behaviour(uri) == "broken":
            status["modelStatus"] = BLOCKED
        latest = self._revisions[-1]
        if not ready:
            good = [r for r in self._revisions if self._behaviour(r) not in ("unready", "broken")]
            latest = good[-1]
        else:
            revisions["latestReadyRevision"] = newest
            status["conditions"] = [{"type": "Ready", "status": "True"}]
            status["modelStatus"] = {"transitionStatus": "UpToDate"}
        percent = predictor.get("canaryTrafficPercent")
        if percent is None or not self._pinned:
            percent = 100
        split = [(latest, percent)]
        traffic = [{"latestRevision": True, "percent": percent}]
        if percent < 100:
            split.append((self._pinned, 100 - percent))
            traffic.append({"latestRevision": False, "percent": 100 - percent, "tag": "prev"})
        if percent == 100 and ready:
            self._pinned = uri
        revisions["traffic"] = traffic
        self._set_traffic(split)
        self._write(status)

    def routed(self, place: int) -> str:
        """The address that gets a request, by its place in 0 to 99."""
        for uri, percent in self.traffic:
            if place < percent:
                return uri
            place -= percent
        return uri

    def _behaviour(self, uri: str) -> str:
        return self.behaviours.get(version_of(uri), "healthy")

    # The servers.

    def _api_handler(cluster) -> type[Handler]:  # noqa: N805 - closes over it
        class Api(_Handler):
            def do_GET(self) -> None:
                place = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(place.query).items()}
                if place.path == f"{PREFIX}/hotels" and cluster.absent:
                    self.send_json({"message": "inferenceservices hotels not found"}, 404)
                elif place.path == f"{PREFIX}/hotels":
                    cluster.verbs.add("get")
                    with cluster._changed:
                        found = copy.deepcopy(cluster.object)
                    self.send_json(found)
                elif place.path == PREFIX and query.get("watch") in ("true", "True"):
                    cluster.verbs.add("watch")
                    assert query["fieldSelector"] == "metadata.name=hotels"
                    self.stream(float(query["timeoutSeconds"]))
                elif place.path == PREFIX:
                    cluster.verbs.add("list")
                    self.send_json({"items": [cluster.object]})
                else:
                    self.send_json({"message": f"not found: {place.path}"}, 404)

            def stream(self, seconds: float) -> None:
                cluster.watches += 1
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                deadline, seen, kind = time.monotonic() + seconds, "", "ADDED"
                while (left := deadline - time.monotonic()) > 0:
                    with cluster._changed:
                        cluster._changed.wait_for(
                            lambda seen=seen: cluster.object["metadata"]["resourceVersion"] != seen,
                            min(left, 1),
                        )
                        found = copy.deepcopy(cluster.object)
                    if found["metadata"]["resourceVersion"] == seen:
                        continue
                    seen = found["metadata"]["resourceVersion"]
                    line = json.dumps({"type": kind, "object": found}).encode() + b"\n"
                    kind = "MODIFIED"
                    if cluster.breaks_watches:
                        self.wfile.write(b"ffff\r\nhalf")
                        self.close_connection = True
                        return
                    try:
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                    except OSError:  # the client had seen enough
                        return
                self.wfile.write(b"0\r\n\r\n")

            def do_PATCH(self) -> None:
                place = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(place.query).items()}
                body = json.loads(self.body())
                cluster.verbs.add("create" if cluster.absent else "patch")
                if place.path != f"{PREFIX}/hotels":
                    return self.send_json({"message": "not found"}, 404)
                if self.headers["Content-Type"] != "application/apply-patch+yaml":
                    return self.send_json({"message": "not an apply patch"}, 415)
                problem = refused(body)
                if problem:
                    return self.send_json({"message": problem}, 400)
                cluster.patches.append(body)
                return self.send_json(cluster.apply(body, query["fieldManager"]))

        return Api

    def _gateway_handler(cluster) -> type[Handler]:  # noqa: N805 - closes over it
        class Gateway(_Handler):
            def do_POST(self) -> None:
                body = json.loads(self.body())
                if self.path != "/v1/models/hotels:predict":
                    return self.send_json({"error": "no such model"}, 404)
                cluster.hosts.add(self.headers["Host"])
                with cluster._asking:
                    cluster.asked += 1
                    place = cluster.asked * 61 % 100  # 61 and 100 share no factor: evenly spread
                uri = cluster.routed(place)
                behaviour = cluster._behaviour(uri)
                if behaviour == "failing":
                    return self.send_json({"error": "out of memory"}, 500)
                if behaviour == "slow":
                    time.sleep(0.3)
                scores = dict(SCORES)
                if behaviour == "wrong":
                    scores = {"bad": 0.3, "good": 0.7}
                prediction = {"scores": [{"label": k, "score": v} for k, v in scores.items()]}
                return self.send_json(
                    {
                        "predictions": [prediction for _ in body["instances"]],
                        "model_name": "hotels",
                        "model_version": version_of(uri),
                    }
                )

        return Gateway


@contextmanager
def running(mode: str, on_traffic: Callable[[str], None] = lambda uri: None) -> Iterator[Cluster]:
    cluster = Cluster(mode, on_traffic)
    try:
        yield cluster
    finally:
        cluster.stop()


def version_of(uri: str) -> str:
    return uri.rstrip("/").rsplit("/", 1)[-1]


class _Handler(Handler):
    protocol_version = "HTTP/1.1"


def _conditions(reason: str) -> list[dict[str, str]]:
    return [
        {"type": "PredictorReady", "status": "True", "reason": reason},
        {"type": "Ready", "status": "True"},
    ]


def _leaves(value: Any, path: tuple[str, ...]) -> dict[tuple[str, ...], Any]:
    """Values by path; a list is one value, as the CRD's lists are atomic."""
    if not isinstance(value, dict):
        return {path: value}
    return {k: v for name in value for k, v in _leaves(value[name], (*path, name)).items()}


def _paths(fields: dict[str, Any], path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if not fields:
        return {path}
    return {p for name in fields for p in _paths(fields[name], (*path, name[2:]))}


def _put(place: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        place = place.setdefault(part, {})
    place[path[-1]] = copy.deepcopy(value)


def _remove(place: dict[str, Any], path: tuple[str, ...]) -> None:
    for part in path[:-1]:
        place = place[part]
    place.pop(path[-1], None)


@cache
def _schema() -> dict[str, Any] | None:
    path = CRDS / "kserve-inferenceservices.yaml"
    if not path.is_file():
        return None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    [version] = yaml.load(path.read_text(), loader)["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def refused(body: dict[str, Any]) -> str:
    """Why a server with fieldValidation=Strict and KServe's webhook would refuse an apply."""
    schema = _schema()
    problems = _problems(body["spec"], schema, "spec", whole=False) if schema else []
    canary = body["spec"].get("canary", [])
    names = [entry["predictor"].get("name") for entry in canary]
    if None in names or body["spec"]["predictor"].get("name") in names:
        problems.append("canary predictor.name is missing or the stable one's")
    return "; ".join(problems)


def _problems(value: Any, schema: dict[str, Any], place: str, *, whole: bool) -> list[str]:
    """Unknown fields, wrong types, and (inside lists, which are whole) missing ones."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    kind = kinds.get(schema.get("type", ""))
    if kind is not None and (not isinstance(value, kind) or (kind is int and value is True)):
        return [f"{place} is no {schema['type']}"]
    if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get(
        "maximum", value
    ):
        return [f"{place} is out of range"]
    if isinstance(value, list):
        return [
            p
            for i, v in enumerate(value)
            for p in _problems(v, schema["items"], f"{place}[{i}]", whole=True)
        ]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    found = [f"unknown field {place}.{key}" for key in value if key not in schema["properties"]]
    if whole:
        found += [
            f"{place}.{key} is missing" for key in schema.get("required", []) if key not in value
        ]
    for key in value:
        if key in schema["properties"]:
            found += _problems(value[key], schema["properties"][key], f"{place}.{key}", whole=whole)
    return found
