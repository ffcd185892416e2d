"""The TrainJob against the CRD, and its life against a small API server that speaks HTTP."""

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

import jsonschema
import pytest
import yaml

from components.finetune_model.cluster import run
from components.finetune_model.job import Job
from components.finetune_model.settings import ClusterSettings, TrainingSettings
from components.finetune_model.trainjob import resource, threads
from serving.errors import InputError
from tests import http_servers
from tests.components import kubeconfig
from tests.http_servers import Handler
from tests.k8s.rendered import CRDS, crd_schema, unknown_fields

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
PODS = [
    {
        "metadata": {"name": name, "creationTimestamp": f"2026-01-01T00:00:0{second}Z"},
        "status": {"phase": "Running"},
    }
    for name, second in (("first", 0), ("second", 1), ("before", 0))
]


class Cluster:
    """One namespace of TrainJobs and the pods of one; the tests play the controller."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.log: list[str] = []
        self.calls: list[str] = []
        self.deletion = threading.Event()
        self.readings: list[dict[str, list[str]]] = []
        self.answers: list[int | None] = []
        """Statuses of the next answers about TrainJobs; 200 is the true one, None breaks off."""
        self.log_answers: list[int | None] = []
        self._next: list[Callable[[], object]] = []
        outer = self

        class Api(Handler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.body())
                outer.calls.append("create")
                outer.asked()
                new = outer.jobs.setdefault(body["metadata"]["name"], body) is body
                self.answer(outer.answers, body, 201 if new else 409)

            def do_DELETE(self) -> None:
                outer.calls.append("delete")
                outer.deletion.set()
                job = outer.jobs.get(self.path.split("?")[0].rpartition("/")[2])
                if job is not None:
                    job["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
                self.answer(outer.answers, job or {}, 200 if job else 404)

            def do_GET(self) -> None:
                path = urlsplit(self.path)
                place, _, name = path.path.rpartition("/")
                if name == "pods":
                    self.send_json({"kind": "PodList", "items": PODS})
                elif name == "log":
                    outer.readings.append(parse_qs(path.query))
                    lines = outer.log if place.endswith("/second") else ["of a pod before it"]
                    self.answer(outer.log_answers, "".join(map(stamped, enumerate(lines))))
                else:
                    assert place == JOBS
                    outer.asked()
                    job = outer.jobs.get(name)
                    self.answer(outer.answers, job or {}, 200 if job else 404)
                    if job and "deletionTimestamp" in job["metadata"]:
                        del outer.jobs[name]

            def answer(self, planned: list[int | None], what: Any, status: int = 200) -> None:
                given = planned.pop(0) if planned else 200
                if given is None:
                    self.close_connection = True
                elif given != 200:
                    self.send_json({"kind": "Status", "message": "its own words"}, given)
                elif isinstance(what, str):
                    self.send(status, what.encode())
                else:
                    self.send_json(what, status)

        self.server = http_servers.start(Api)

    def when_asked(self, what: Callable[..., object], *arguments: Any) -> None:
        """Do something at the next request about TrainJobs that nothing is planned for yet."""
        self._next.append(partial(what, *arguments))

    def asked(self) -> None:
        if self._next:
            self._next.pop(0)()

    def end(self, kind: str, message: str = "") -> None:
        conditions = [{"type": kind, "status": "True", "message": message}]
        self.jobs[NAME]["status"] = {"conditions": conditions}


def stamped(numbered: tuple[int, str]) -> str:
    """A line of a log as the kubelet sends it."""
    number, line = numbered
    return f"2026-01-01T00:00:00.{number:09}Z {line}\n"


def nothing() -> None: ...


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    running = Cluster()
    path = kubeconfig.write(tmp_path / "config", running.server.url)
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setattr("components.finetune_model.cluster.SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr("components.finetune_model.cluster.FIRST_PAUSE", 0.01)
    yield running
    running.server.stop()


@pytest.mark.skipif(not CRDS.is_dir(), reason="the CRDs lie beside the checkout or not at all")
def test_it_fits_its_crd() -> None:
    body = resource(JOB, CLUSTER)
    schema = crd_schema(body)
    assert schema is not None
    jsonschema.validate(body, schema)
    assert unknown_fields(body["spec"], schema["properties"]["spec"]) == []
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", body["metadata"]["name"])
    assert len(body["metadata"]["name"]) <= 63


def test_every_process_is_given_the_job_and_neither_image_nor_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://store:9000")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    trainer = resource(JOB, CLUSTER)["spec"]["trainer"]
    flag, argument = trainer["args"]
    assert flag == "--job"
    assert Job.model_validate_json(argument.replace("$$(", "$(")) == JOB
    assert "$$(HOME)" in argument  # which the kubelet would expand
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 4)
    assert {"name": "AWS_ENDPOINT_URL_S3", "value": "http://store:9000"} in trainer["env"]
    assert "hush" not in json.dumps(trainer)
    assert "image" not in trainer  # the runtime's, where an overlay sets the registry
    named = CLUSTER.model_copy(update={"image": "registry.example.com/trainer:1"})
    assert resource(JOB, named)["spec"]["trainer"]["image"] == "registry.example.com/trainer:1"
    from_secret = {
        each["name"]: each["valueFrom"]["secretKeyRef"].get("optional", False)
        for each in trainer["env"]
        if "valueFrom" in each
    }
    assert from_secret == {
        "AWS_ACCESS_KEY_ID": False,
        "AWS_SECRET_ACCESS_KEY": False,
        "AWS_SESSION_TOKEN": True,
    }


@pytest.mark.parametrize(
    ("resources", "expected"), [({"cpu": "10"}, 2), ({"cpu": "500m"}, 1), ({"memory": "1Gi"}, 1)]
)
def test_its_processes_share_the_cores_that_it_asks_for(
    resources: dict[str, str], expected: int
) -> None:
    assert threads(CLUSTER.model_copy(update={"resources": resources})) == expected


def test_it_is_created_and_its_log_told_while_it_runs(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.log = ["finetune_model: training, step 1/64 (1 %)"]
    for then in (nothing, nothing, partial(cluster.log.append, "warned"), nothing):
        cluster.when_asked(then)
    cluster.when_asked(cluster.end, "Complete")
    run(JOB, CLUSTER)
    assert capsys.readouterr().out.splitlines() == [
        "finetune_model: created TrainJob team/finetune-0123456789abcdef0123",
        "finetune_model: training, step 1/64 (1 %)",
        "finetune_model: warned",
    ]
    assert cluster.calls == ["create"]
    assert ["sinceSeconds" in query for query in cluster.readings] == [False, True, True, True]


def test_one_that_runs_is_adopted_and_a_failed_one_replaced(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.jobs[NAME] = resource(JOB, CLUSTER)
    for then in (nothing, nothing, partial(cluster.end, "Failed", "a node went away")):
        cluster.when_asked(then)
    with pytest.raises(RuntimeError, match="a node went away"):
        run(JOB, CLUSTER)
    assert "adopted" in capsys.readouterr().out
    for then in (*[nothing] * 5, partial(cluster.end, "Complete")):
        cluster.when_asked(then)
    run(JOB, CLUSTER)
    assert "starting it anew" in capsys.readouterr().out
    assert cluster.calls == ["create", "create", "delete", "create", "create"]


def test_an_api_server_that_is_away_for_a_while_is_asked_again(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """The connection breaks after the creation, which is then adopted instead of repeated."""
    cluster.answers = [503, None, 200, 200, 500, 429, 503, 200]
    cluster.log_answers = [502]
    cluster.log = ["finetune_model: training"]
    for then in (*[nothing] * 8, partial(cluster.end, "Complete")):
        cluster.when_asked(then)
    run(JOB, CLUSTER)
    said = capsys.readouterr().out
    assert said.count("asking again") == 5
    assert "the API server answers 429 Too Many Requests: its own words" in said
    assert said.count("finetune_model: training\n") == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "403 Forbidden: its own words. Install Kubeflow Trainer v2"),
        (404, "404 Not Found: its own words. Install Kubeflow Trainer v2"),
        (422, "422 Unprocessable Entity: its own words. Correct training.cluster"),
        (503, "503 Service Unavailable: its own words. Run again when the cluster answers"),
        (None, "the API server cannot be reached .*. Run again when the cluster answers"),
    ],
)
def test_what_the_cluster_refuses_is_told_with_its_remedy(
    cluster: Cluster, status: int | None, words: str
) -> None:
    cluster.answers = [status] * 9
    with pytest.raises(InputError, match=words):
        run(JOB, CLUSTER)
    assert (len(cluster.calls) > 1) == (status in (503, None))


def test_the_words_of_a_worker_are_the_error(cluster: Cluster) -> None:
    cluster.log = ["error: finetune_model: training ran out of memory. Lower it."]
    cluster.log_answers = [500, None, 503]
    for then in (nothing, partial(cluster.end, "Failed", "exit code 1")):
        cluster.when_asked(then)
    with pytest.raises(InputError, match=r"^training ran out of memory\. Lower it\.$"):
        run(JOB, CLUSTER)


def test_an_attempt_that_failed_before_one_that_did_not_is_no_error(cluster: Cluster) -> None:
    cluster.log = ["error: finetune_model: S3 does not answer"]
    for then in (nothing, partial(cluster.end, "Complete")):
        cluster.when_asked(then)
    run(JOB, CLUSTER)


def test_one_that_somebody_deletes_has_failed(cluster: Cluster) -> None:
    for then in (nothing, nothing, cluster.jobs.clear):
        cluster.when_asked(then)
    with pytest.raises(RuntimeError, match="somebody deleted it"):
        run(JOB, CLUSTER)


@pytest.mark.parametrize("requests_before", [0, 1, 2])
def test_a_step_that_is_cancelled_deletes_it(cluster: Cluster, requests_before: int) -> None:
    """Also while it is being created."""

    def cancel() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        cluster.deletion.wait(0.2)  # which must not overtake the creation

    for then in (*[nothing] * requests_before, cancel):
        cluster.when_asked(then)
    with pytest.raises(SystemExit):
        run(JOB, CLUSTER)
    assert cluster.calls == ["create", "delete"]
    assert "deletionTimestamp" in cluster.jobs[NAME]["metadata"]


def test_a_batch_that_the_cluster_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="8 processes of the cluster cannot share"):
        TrainingSettings(batch_size=12, cluster=CLUSTER)


def test_a_resource_that_is_no_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match=r"resources\.cpu"):
        ClusterSettings(namespace="team", resources={"cpu": "eight"})


def test_the_role_grants_what_the_step_asks_for() -> None:
    path = Path(__file__).parents[3] / "k8s" / "training" / "trainer.yaml"
    role = next(d for d in yaml.safe_load_all(path.read_text()) if d["kind"] == "Role")
    granted = {(r["resources"][0], verb) for r in role["rules"] for verb in r["verbs"]}
    assert granted == {
        *(("trainjobs", verb) for verb in ("create", "get", "delete")),
        ("pods", "list"),
        ("pods/log", "get"),
    }
