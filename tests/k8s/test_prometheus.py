"""A real Prometheus with our rules over a real endpoint, training and store: the queries of the
dashboards answer, and alerts come and go."""

import itertools
import math
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from components import processes
from components.finetune_model.finetuning import finetune
from components.promote_model.promotion import promote
from components.promote_model.settings import PromotionSettings
from serving.classifier import Classifier
from serving.reference import reference_of
from tests.components.finetune_model.test_finetuning import publish, settings
from tests.components.promote_model.candidates import judged
from tests.conftest import hotel_rows
from tests.k8s.monitoring import DASHBOARDS, queries, write_short_rules
from tests.serving.conftest import Server, release, until

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="Prometheus is not installed (Debian's prometheus)"
)

MODEL = "hotel-reviews"
TEXTS_A_REQUEST = 20
NEEDS_MORE = {
    "GPU utilization": "NVIDIA's DCGM exporter",
    "GPU memory in use": "NVIDIA's DCGM exporter",
    "Model FLOPs utilization": "a GPU: a CPU's peak is not known",
}


class Prometheus:
    """The server, scraping and evaluating once a second."""

    def __init__(self, home: Path, targets: dict[str, int]) -> None:
        write_short_rules(home / "rules.yaml")
        labels = {"namespace": "finegate"}
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(home / "rules.yaml")],
            "scrape_configs": [
                {
                    "job_name": job,
                    "static_configs": [
                        {
                            "targets": [f"127.0.0.1:{port}"],
                            # What the PodMonitor's relabelling adds to the predictors.
                            "labels": {**labels, "model": MODEL, "pod": "one"}
                            if job == "endpoint"
                            else labels,
                        }
                    ],
                }
                for job, port in targets.items()
            ],
        }
        (home / "prometheus.yaml").write_text(yaml.safe_dump(config))
        [port] = processes.free_ports(1)
        self._url = f"http://127.0.0.1:{port}"
        self._began = time.time()
        self.log = home / "prometheus.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={home / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={home / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=log,
            )
        until(self._ready, self.log)

    def values(self, query: str) -> list[float]:
        """Every value that is a number, of every series, since the start."""
        given = {"query": query, "start": self._began, "end": time.time(), "step": 1}
        result = self._get("query_range", **given)["result"]
        found = [float(value) for series in result for _, value in series["values"]]
        return [value for value in found if not math.isnan(value)]

    def alerts(self, name: str) -> set[str]:
        """The states, pending or firing, in which an alert is."""
        active = self._get("alerts")["alerts"]
        return {each["state"] for each in active if each["labels"]["alertname"] == name}

    def _get(self, path: str, **given: Any) -> Any:
        answer = httpx.get(f"{self._url}/api/v1/{path}", params=given, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self._url}/-/ready", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


class Load:
    """Requests one after the other, of texts that can be exchanged while they go on."""

    def __init__(self, server: Server, texts: list[str]) -> None:
        self.texts = texts
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _send(self) -> None:
        for turn in itertools.count():
            if self._over.wait(0.05):
                return
            start = turn * TEXTS_A_REQUEST % len(self.texts)
            repeated = (self.texts * 2)[start : start + TEXTS_A_REQUEST]
            assert self._server.post({"instances": repeated}).status_code == 200


@pytest.fixture(scope="module")
def texts_by_label(tiny_model: Path) -> dict[str, list[str]]:
    """Texts by the label that the model gives them."""
    texts = [text for text, _ in hotel_rows(400)]
    classifier = Classifier.load(tiny_model)
    found: dict[str, list[str]] = {}
    for text, row in zip(texts, classifier.classify(texts), strict=True):
        found.setdefault(classifier.labels[row.argmax()], []).append(text)
    return found


@pytest.fixture
def watched(
    tiny_model: Path, tmp_path: Path, store: str, texts_by_label: dict[str, list[str]]
) -> Iterator[tuple[Prometheus, Server]]:
    """Prometheus over an endpoint, a training that begins, and a store with runs."""
    texts = [text for group in texts_by_label.values() for text in group]
    classifier = Classifier.load(tiny_model)
    reference = reference_of(classifier.labels, classifier.problem_type, classifier.classify(texts))
    assert reference is not None
    told = reference.model_dump(mode="json")
    server = Server(release(tiny_model, tmp_path / "one", "one", reference=told), tmp_path)
    judged(store, "1", name=MODEL)
    promote(store, MODEL, "1", PromotionSettings())
    judged(store, "2", "rejected", name=MODEL)
    training_port, dashboard_port = processes.free_ports(2)
    dashboard = subprocess.Popen(
        [
            *(sys.executable, "-m", "pipelines.dashboard"),
            *("--store", store, "--port", str(dashboard_port)),
        ]
    )
    tokenized, base = publish(store, tiny_model, tmp_path)
    given = settings(processes=1, epochs=12, metrics_port=training_port)
    training = threading.Thread(target=finetune, args=(store, tokenized, base, given))
    training.start()
    ports = {"endpoint": server.port, "training": training_port, "dashboard": dashboard_port}
    prometheus = Prometheus(tmp_path, ports)
    try:
        server.wait_for("one")
        yield prometheus, server
    finally:
        training.join()
        server.kill()
        prometheus.process.kill()
        prometheus.process.wait()
        dashboard.terminate()
        dashboard.wait()


def test_a_shifted_mix_fires_and_is_quiet_again_and_every_query_of_the_dashboards_answers(
    watched: tuple[Prometheus, Server], texts_by_label: dict[str, list[str]]
) -> None:
    prometheus, server = watched
    drift, down = "FinegateLabelMixDrift", "FinegateEndpointDown"

    def soon(state: Callable[[], bool]) -> None:
        until(state, prometheus.log, seconds=90)

    def distance() -> float:
        """Of the label mix, now that enough texts were answered to alert; 1 before."""
        texts = prometheus.values("version:finegate_answered_texts:increase1h")
        found = prometheus.values("version:finegate_label_mix:distance1h")
        return found[-1] if found and texts and texts[-1] >= 500 else 1.0

    usual = [text for group in texts_by_label.values() for text in group]
    random.Random(0).shuffle(usual)
    rarest = min(texts_by_label.values(), key=len)
    load = Load(server, usual)
    try:
        soon(lambda: distance() < 0.1)
        assert prometheus.alerts(drift) == set()
        load.texts = rarest
        soon(lambda: "firing" in prometheus.alerts(drift))
        load.texts = usual
        soon(lambda: distance() < 0.1)
        soon(lambda: prometheus.alerts(drift) == set())
        soon(lambda: bool(prometheus.values("finegate_training_validation")))
        empty = {
            title
            for name in DASHBOARDS
            for title, query in queries(name)
            if not prometheus.values(filled_in(query))
        }
        assert empty == set(NEEDS_MORE)
        assert prometheus.alerts(down) == set()
    finally:
        load.stop()
    server.kill()
    soon(lambda: "firing" in prometheus.alerts(down))


def filled_in(query: str) -> str:
    """A panel's query with what Grafana fills in."""
    for variable in ("namespace", "model", "training"):
        query = query.replace(f"${variable}", ".*")
    return query.replace("$__rate_interval", "5s")
