"""The TrainJob against the CRD, and its life against a small API server that speaks HTTP."""

import contextlib
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from components.finetune_model.cluster import run
from components.finetune_model.job import Job
from components.finetune_model.settings import ClusterSettings, TrainingSettings
from components.finetune_model.trainjob import resource
from serving.errors import InputError
from tests import http_servers
from tests.components import kubeconfig
from tests.http_servers import Handler
from tests.k8s.test_base import CRDS, unknown_fields

CLUSTER = ClusterSettings(
    namespace="team",
    nodes=2,
    processes_per_node=4,
    resources={"nvidia.com/gpu": "4", "memory": "200Gi"},
    secret="store",
)
JOB = Job(
    settings=TrainingSettings(cluster=CLUSTER),
    labels=["好评", "$(HOME)"],
    tokenized="s3://b/tokenized/t",
    base_model="s3://b/base-models/b",
    checkpoints="s3://b/checkpoints/f",
    curves="s3://b/curves/f",
    result="s3://b/finetuned/f",
    facts={"fingerprint": "0123456789abcdef0123"},
)
JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs"
NAME = "finetune-0123456789abcdef0123"


class Cluster:
    """One namespace of TrainJobs, with watches; the tests play the controller."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.log: list[str] = []
        self.calls: list[str] = []
        self._next: list[Callable[[], None]] = []
        self._events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        outer = self

        class Api(Handler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.body())
                name = body["metadata"]["name"]
                outer.calls.append("create")
                if name in outer.jobs:
                    self.send_json({"kind": "Status", "reason": "AlreadyExists"}, 409)
                else:
                    outer.change("ADDED", body)
                    self.send_json(body, 201)

            def do_DELETE(self) -> None:
                outer.calls.append("delete")
                outer.change("DELETED", outer.jobs[self.path.split("?")[0].rpartition("/")[2]])
                self.send_json({"kind": "Status", "status": "Success"})

            def do_GET(self) -> None:
                path = urlsplit(self.path)
                if path.path.endswith("/pods"):
                    pod = {"metadata": {"name": "p"}, "status": {"phase": "Running"}}
                    self.send_json({"kind": "PodList", "items": [pod]})
                elif path.path.endswith("/log"):
                    self.stream(line + "\n" for line in outer.log)
                elif path.path == JOBS:
                    outer.watched()
                    [since] = parse_qs(path.query).get("resourceVersion", [""])
                    with contextlib.suppress(BrokenPipeError):  # the watcher has seen enough
                        self.stream(json.dumps(e) + "\n" for e in outer.events(since))
                else:
                    self.send_json(outer.jobs[path.path.rpartition("/")[2]])

            def stream(self, lines: Iterator[str]) -> None:
                self.send_response(200)
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                for line in lines:
                    data = line.encode()
                    self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")

        self.server = http_servers.start(Api)

    def change(self, kind: str, job: dict[str, Any]) -> None:
        with self._changed:
            job["metadata"]["resourceVersion"] = str(len(self._events) + 1)
            if kind == "DELETED":
                del self.jobs[job["metadata"]["name"]]
            else:
                self.jobs[job["metadata"]["name"]] = job
            self._events.append({"type": kind, "object": json.loads(json.dumps(job))})
            self._changed.notify_all()

    def when_watched(self, what: Callable[..., None], *arguments: Any) -> None:
        """Do something when the next watch opens that nothing is planned for yet."""
        self._next.append(partial(what, *arguments))

    def watched(self) -> None:
        if self._next:
            self._next.pop(0)()

    def events(self, version: str) -> Iterator[dict[str, Any]]:
        """What is there, or what happened after `version`; then what happens, until 5 s pass."""
        with self._changed:
            since = int(version or len(self._events))
            present = [] if version else list(self.jobs.values())
        yield from ({"type": "ADDED", "object": job} for job in present)
        while True:
            with self._changed:
                while len(self._events) <= since:
                    if not self._changed.wait(5):
                        return
                event = self._events[since]
            yield event
            since += 1

    def end(self, kind: str, message: str = "") -> None:
        job = self.jobs[NAME]
        job["status"] = {"conditions": [{"type": kind, "status": "True", "message": message}]}
        self.change("MODIFIED", job)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    running = Cluster()
    path = kubeconfig.write(tmp_path / "config", running.server.url)
    monkeypatch.setenv("KUBECONFIG", str(path))
    yield running
    running.server.stop()


@pytest.mark.skipif(not CRDS.is_dir(), reason="the CRDs lie beside the checkout or not at all")
def test_the_crd_knows_every_field() -> None:
    body = resource(JOB, CLUSTER, "registry/trainer:1")
    [version] = yaml.safe_load((CRDS / "trainer-trainjobs.yaml").read_text())["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert body["apiVersion"].endswith(version["name"])
    assert unknown_fields(body["spec"], schema) == []
    limits = schema["properties"]["trainer"]["properties"]["resourcesPerNode"]["properties"]
    pattern = limits["limits"]["additionalProperties"]["pattern"]
    assert all(re.match(pattern, value) for value in CLUSTER.resources.values())
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", body["metadata"]["name"])
    assert len(body["metadata"]["name"]) <= 63


def test_every_process_is_given_the_job_and_no_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://store:9000")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    trainer = resource(JOB, CLUSTER, "registry/trainer:1")["spec"]["trainer"]
    flag, argument = trainer["args"]
    assert flag == "--job"
    assert Job.model_validate_json(argument.replace("$$(", "$(")) == JOB
    assert "$$(HOME)" in argument  # which the kubelet would expand
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 4)
    assert {"name": "AWS_ENDPOINT_URL_S3", "value": "http://store:9000"} in trainer["env"]
    assert "hush" not in json.dumps(trainer)


def test_it_is_created_watched_and_its_log_told(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.log = ["finetune_model: training, step 1/64 (1 %)"]
    cluster.when_watched(cluster.end, "Complete")
    run(JOB, CLUSTER, "image")
    said = capsys.readouterr().out
    assert "created TrainJob team/finetune-0123456789abcdef0123" in said
    assert "finetune_model: training, step 1/64 (1 %)" in said
    assert cluster.calls == ["create"]


def test_one_that_runs_is_adopted_and_a_failed_one_replaced(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.change("ADDED", resource(JOB, CLUSTER, "image"))
    cluster.when_watched(cluster.end, "Failed", "a node went away")
    with pytest.raises(RuntimeError, match="a node went away"):
        run(JOB, CLUSTER, "image")
    assert "adopted" in capsys.readouterr().out
    cluster.when_watched(lambda: None)  # this watch waits until the old one is gone
    cluster.when_watched(cluster.end, "Complete")
    run(JOB, CLUSTER, "image")
    assert cluster.calls == ["create", "create", "delete", "create"]


def test_the_words_of_a_worker_are_the_error(cluster: Cluster) -> None:
    cluster.log = ["error: finetune_model: training ran out of memory. Lower it."]
    cluster.when_watched(cluster.end, "Failed", "exit code 1")
    with pytest.raises(InputError, match=r"^training ran out of memory\. Lower it\.$"):
        run(JOB, CLUSTER, "image")


def test_a_step_that_is_cancelled_deletes_it(cluster: Cluster) -> None:
    cluster.when_watched(os.kill, os.getpid(), signal.SIGTERM)
    with pytest.raises(SystemExit):
        run(JOB, CLUSTER, "image")
    assert cluster.calls == ["create", "delete"]
    assert cluster.jobs == {}


def test_a_batch_that_the_cluster_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="8 processes of the cluster cannot share"):
        TrainingSettings(batch_size=12, cluster=CLUSTER)


def test_the_role_grants_what_the_step_asks_for() -> None:
    path = Path(__file__).parents[3] / "k8s" / "training" / "trainer.yaml"
    role = next(d for d in yaml.safe_load_all(path.read_text()) if d["kind"] == "Role")
    granted = {(r["resources"][0], verb) for r in role["rules"] for verb in r["verbs"]}
    assert {("trainjobs", v) for v in ("create", "get", "list", "watch", "delete")} <= granted
    assert {("pods", "list"), ("pods/log", "get")} <= granted
