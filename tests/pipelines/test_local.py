"""The whole loop in real processes: embedded S3, kfp.local, DeepSpeed, a ModelServer."""

import csv
import hashlib
import json
import math
import os
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import yaml
from transformers import pipeline

from components import promotions, storage
from pipelines import object_store
from pipelines.compile import COMPILED
from pipelines.progress import STEPS
from tests.conftest import WORDS, hotel_rows
from tests.pipelines.launcher import Cluster

CONFIG = {
    "name": "hotels",
    "dataset": {"path": "reviews.csv"},
    "base_model": {
        "architecture": {
            "model_type": "bert",
            "hidden_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 128,
        }
    },
    "tokenization": {"max_length": 32, "vocabulary": {"size": 600}},
    "training": {"epochs": 3, "learning_rate": 2e-3, "batch_size": 16, "evaluations": 1},
    "gate": {
        "minimum": {"accuracy": 0.4},
        "champion": {"margin": 0.05},
        # The suite may share its cores; the latency budget is the quickstart's business.
        "serving": {"rows": 8, "p99_ms": 30000},
    },
}


DECODER = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 128,
}


@dataclass
class Laptop:
    """A folder in which a data scientist runs finegate."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def finegate(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from pipelines.cli import main; main()", *arguments]
        return subprocess.run(
            command,
            cwd=self.home,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=300,
        )

    def run(self, *overrides: str) -> subprocess.CompletedProcess[str]:
        sets = [part for override in overrides for part in ("--set", override)]
        return self.finegate("run", "run.yaml", *sets)

    @property
    def url(self) -> str:
        facts = json.loads((self.home / ".finegate/endpoints/hotels/endpoint.json").read_text())
        return f"http://127.0.0.1:{facts['port']}/v1/models/hotels:predict"

    def champion(self) -> str:
        answer = httpx.post(self.url, json={"instances": ["us"]}, timeout=60)
        return str(answer.json()["model_version"])


def write_rows(path: Path, *, shuffled: bool = False) -> None:
    rows = hotel_rows(600)
    labels = [label for _, label in rows]
    if shuffled:
        random.Random(0).shuffle(labels)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(zip((text for text, _ in rows), labels, strict=True))


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """A laptop after its first run, which promoted a first champion."""
    home = tmp_path_factory.mktemp("laptop")
    keep = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    laptop = Laptop(home, {**keep, "PYTHONPATH": str(Path(__file__).parent.parent.parent)})
    write_rows(home / "reviews.csv")
    (home / "run.yaml").write_text(yaml.safe_dump(CONFIG, allow_unicode=True))
    first = laptop.run()
    assert first.returncode == 0, first.stdout + first.stderr
    (home / "first.txt").write_text(first.stdout)
    yield laptop
    laptop.finegate("down")


class Traffic:
    """A client that asks the champion all the time; `failures` stays empty if none was lost."""

    def __init__(self, url: str) -> None:
        self.failures: list[str] = []
        self.versions: list[str] = []
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        with httpx.Client(timeout=60) as client:
            while not self._stop.wait(0.02):
                try:
                    answer = client.post(self._url, json={"instances": ["the room was clean"]})
                    answer.raise_for_status()
                    self.versions.append(answer.json()["model_version"])
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))


def test_the_first_run_prints_verdict_report_curl_and_the_endpoints_answer(
    laptop: Laptop,
) -> None:
    said = (laptop.home / "first.txt").read_text()
    assert "accepted: All" in said
    assert "TF-IDF with logistic regression" in said
    report = re.search(r"report: (\S+)", said)
    assert report
    assert (laptop.home / report[1]).read_bytes().startswith(b"<!doctype html>")
    curl = re.search(r"^curl .*$", said, re.MULTILINE)
    assert curl
    answer = subprocess.run(curl[0], shell=True, capture_output=True, text=True, timeout=60)
    predictions = json.loads(answer.stdout)["predictions"]
    assert len(predictions) == 2
    for prediction in predictions:
        assert f"-> {prediction['label']} {prediction['score']:.4f}" in said


def test_the_kfp_artifacts_hold_metrics_confusion_matrix_and_report(laptop: Laptop) -> None:
    artifacts = {}
    for step in ("finetune-model", "evaluate-model"):
        [outputs] = laptop.home.glob(f".finegate/runs/*/artifacts/*/{step}/executor_output.json")
        artifacts |= {step: json.loads(outputs.read_text())["artifacts"]}
    training, metrics = (
        artifacts[step]["metrics"]["artifacts"][0]["metadata"] for step in artifacts
    )
    assert {"accuracy", "macro_f1", "precision_praise", "recall_blame", "f1_neutral"} <= set(
        metrics
    )
    scores = {"loss", "eval_loss", "eval_accuracy", "eval_macro_f1"}
    rates = {"train_runtime", "rows_per_second", "tokens_per_second", "memory_gib"}
    assert scores | rates | {"steps", "best_step"} <= set(training)
    for name, value in training.items():
        assert isinstance(value, int | float), f"{name} is {value!r}"
        assert math.isfinite(value), f"{name} is {value}"
    assert 0 < training["best_step"] <= training["steps"]
    confusion = artifacts["evaluate-model"]["classification"]["artifacts"][0]["metadata"]
    assert len(confusion["confusionMatrix"]["rows"]) == 3
    [page] = laptop.home.glob(".finegate/runs/*/artifacts/*/report-run/page")
    assert b"<svg" in page.read_bytes()


def assert_answers_as_transformers(laptop: Laptop) -> None:
    """The endpoint's named probabilities are those of the pipeline on the champion's folder."""
    texts = [text for text, _ in hotel_rows(200, seed=9)]
    folder = laptop.home / ".finegate/endpoints/hotels/current"
    theirs = pipeline(
        "text-classification", model=str(folder.resolve()), top_k=None, truncation=True
    )
    answer = httpx.post(laptop.url, json={"instances": texts}, timeout=60).json()
    for prediction, expected in zip(answer["predictions"], theirs(texts), strict=True):
        scores = {each["label"]: each["score"] for each in prediction["scores"]}
        assert scores.keys() == WORDS.keys()
        assert prediction["label"] == expected[0]["label"]
        assert scores == {
            each["label"]: pytest.approx(each["score"], abs=1e-5) for each in expected
        }


def test_the_endpoint_equals_the_transformers_pipeline_on_the_release(laptop: Laptop) -> None:
    assert_answers_as_transformers(laptop)


def test_the_compiled_pipeline_without_a_shared_disk_ends_in_the_same_release(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = object_store.facts_if_running(laptop.home / ".finegate")
    assert facts is not None
    variables = object_store.variables(facts)
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    storage.client.cache_clear()
    laptops, clusters = "s3://finegate", "s3://finegate/cluster"
    config = yaml.safe_load((laptop.home / "run.yaml").read_text())
    reviews = f"{clusters}/given/reviews.csv"
    content = (laptop.home / "reviews.csv").read_bytes()
    storage.write_bytes(reviews, content, "text/csv")
    # By its hash a file is the same wherever it lies.
    dataset = {"s3": reviews, "sha256": hashlib.sha256(content).hexdigest()}
    sections = {key: config[key] for key in ("base_model", "tokenization", "training", "gate")}
    cluster = Cluster(COMPILED, f"{clusters}/artifacts", "8f6b3ad2-run", variables)
    cluster.run({"store": clusters, "name": "hotels", "dataset": dataset, **sections})
    ran = [execution.task.replace("-", "_") for execution in cluster.executions]
    assert sorted(ran) == sorted([*STEPS, "notify_run"])
    artifacts = {name for each in cluster.executions for name in each.artifacts}
    assert {"verdict", "page"} <= artifacts

    [ours] = promotions.history(clusters, "hotels")
    theirs = promotions.history(laptops, "hotels")[0]
    assert ours.run == "8f6b3ad2-run"
    assert ours.version == theirs.version
    release = promotions.release(clusters, "hotels", ours.version)
    twin = promotions.release(laptops, "hotels", theirs.version)
    assert release is not None
    assert twin is not None
    for key in ("fingerprint", "labels", "max_length"):
        assert release[key] == twin[key]
    assert [file["path"] for file in release["files"]] == [file["path"] for file in twin["files"]]
    for key in ("model", "dataset", "tokenized", "base_model", "evaluation"):
        place, original = release["lineage"][key], twin["lineage"][key]
        assert place == original.replace(laptops, clusters, 1)
    storage.client.cache_clear()


def test_an_identical_run_does_no_work_and_says_why(laptop: Laptop) -> None:
    again = laptop.run("report.show_texts=false")
    assert again.returncode == 0
    shown = {
        b'class="text"' in p.read_bytes() for p in laptop.home.glob(".finegate/runs/*/report.html")
    }
    assert shown == {True, False}  # the first run's page shows its mistakes' texts, this one's none
    for step in ("download_dataset", "download_model", "validate_dataset", "tokenize_dataset"):
        assert f"{step}: cached" in again.stdout
    for step in ("finetune_model", "evaluate_model"):
        assert f"{step}: cached" in again.stdout
    assert "unchanged: The candidate is the champion" in again.stdout


def test_a_sabotaged_candidate_is_rejected_and_the_champion_answers_on(laptop: Laptop) -> None:
    champion = laptop.champion()
    write_rows(laptop.home / "sabotaged.csv", shuffled=True)
    with Traffic(laptop.url) as traffic:
        ended = laptop.run("dataset={path: sabotaged.csv}")
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert "rejected:" in ended.stdout
    assert "accuracy is 0." in ended.stdout
    assert traffic.failures == []
    assert set(traffic.versions) == {champion}
    assert laptop.champion() == champion
    assert "rejected" in laptop.finegate("status").stdout


def test_a_decoder_replaces_the_encoder_as_champion_and_a_rollback_brings_that_back(
    laptop: Laptop,
) -> None:
    first = laptop.champion()
    with Traffic(laptop.url) as traffic:
        ended = laptop.run(
            f"base_model.architecture={json.dumps(DECODER)}",
            *("training.epochs=8", "training.learning_rate=5e-3", "training.lora={rank: 32}"),
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        second = laptop.champion()
    assert traffic.failures == []
    assert list(dict.fromkeys(traffic.versions)) == [first, second]
    for step in ("download_dataset", "validate_dataset"):
        assert f"{step}: cached" in ended.stdout
    assert "finetune_model: training" in ended.stdout
    assert_answers_as_transformers(laptop)

    history = laptop.finegate("history", "hotels").stdout
    assert first in history
    assert second in history
    with Traffic(laptop.url) as traffic:
        rolled_back = laptop.finegate("rollback", "hotels")
    assert rolled_back.returncode == 0, rolled_back.stderr
    assert traffic.failures == []
    assert laptop.champion() == first


def test_down_stops_everything_and_up_brings_the_champion_back(laptop: Laptop) -> None:
    champion = laptop.champion()
    down = laptop.finegate("down")
    assert "stopped endpoint hotels" in down.stdout
    assert "stopped object store" in down.stdout
    assert "stopped" in laptop.finegate("status").stdout
    assert laptop.finegate("up").returncode == 0
    assert laptop.champion() == champion


def test_another_port_than_the_running_endpoints_is_refused(laptop: Laptop) -> None:
    ended = laptop.finegate("run", "run.yaml", "--port", "1")
    assert ended.returncode == 1
    assert "error: the endpoint runs on port" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
