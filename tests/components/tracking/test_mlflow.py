"""MLflow beside the store: on a real `mlflow server` where one is installed, and on MLflow's own
store of files, which is the client alone."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from components import folders, processes, promotions, storage
from components.promote_model.interventions import pin, rollback
from components.promote_model.promotion import promote
from components.promote_model.settings import PromotionSettings
from components.tracking.mlflow import follow, track
from components.tracking.settings import MlflowSettings
from tests.components.promote_model.candidates import judged
from tests.serving.conftest import until

if TYPE_CHECKING:
    from mlflow import MlflowClient

SERVER = os.environ.get("FINEGATE_MLFLOW", "")
"""The command `mlflow` of an environment with all of MLflow: its server does not fit into ours."""
POINTS = [
    '{"step": 5, "epoch": 0.5, "seconds": 1.5, "loss": 0.9, "learning_rate": 0.001}',
    '{"step": 10, "epoch": 1.0, "seconds": 3.0, "loss": 0.4, "eval_loss": 0.5}',
]
LOG_ONLY = PromotionSettings()


@pytest.fixture(scope="module", params=["files", "server"])
def uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        if request.param == "files":
            yield f"file://{home}"
            return
        if shutil.which(SERVER) is None:
            pytest.skip("FINEGATE_MLFLOW names no command mlflow with its server")
        [port] = processes.free_ports(1)
        log = home / "server.log"
        with log.open("wb") as output:
            server = subprocess.Popen(
                [
                    *(SERVER, "server", "--host", "127.0.0.1", "--port", str(port)),
                    *("--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--workers", "1"),
                    *("--artifacts-destination", str(home / "artifacts")),
                ],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            until(lambda: _answers(port), log, seconds=120)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, 15)
            server.wait()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def client(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(uri, uri)


def ran(store: str, name: str, run: str, decision: str = "accepted") -> str:
    """A run with curves, settings and a report; its version."""
    version = judged(store, run, decision, name=name)
    verdict = storage.read_json(f"{store}/runs/{run}/verdict.json")
    facts = folders.existing(verdict["model"])
    facts["settings"] = {"epochs": 2.0, "lora": {"rank": 16}, "seed": 42, "cluster": None}
    storage.write_json(f"{verdict['model']}/manifest.json", facts)
    curve = "\n".join(POINTS).encode()
    storage.write_bytes(f"{verdict['model']}/training.jsonl", curve, "application/jsonl")
    report = "<h1>好</h1>".encode()
    storage.write_bytes(f"{store}/runs/{run}/report.html", report, "text/html")
    return version


def runs(client: "MlflowClient", name: str) -> list[Any]:
    experiment = client.get_experiment_by_name(name)
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def champion(client: "MlflowClient", name: str) -> tuple[str, str]:
    """MLflow's number of the champion, and where it lies."""
    found = client.get_model_version_by_alias(name, "champion")
    return str(found.version), found.source


def test_a_run_is_told_once_with_parameters_curves_metrics_and_report(
    store: str, uri: str, client: "MlflowClient", tmp_path: Path
) -> None:
    name = store[-12:]
    settings = MlflowSettings(kind="mlflow", uri=uri)
    version = ran(store, name, "1", "rejected")
    track(store, name, "1", settings)
    track(store, name, "1", settings)
    [run] = runs(client, name)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "1"
    assert run.data.tags["finegate.version"] == version
    assert run.data.tags["finegate.decision"] == "rejected"
    assert run.data.params == {
        "dataset": "d",
        "tokenized": "t",
        "base_model": "b",
        "max_length": "24",
        "training.epochs": "2.0",
        "training.lora": '{"rank": 16}',
        "training.seed": "42",
    }
    loss = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value, m.timestamp - run.info.start_time) for m in loss] == [
        (5, 0.9, 1500),
        (10, 0.4, 3000),
    ]
    assert run.data.metrics["test/accuracy"] == 1.0
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert names == {"report.html", "verdict.json"}
    report = client.download_artifacts(run.info.run_id, "report.html", str(tmp_path))
    assert Path(report).read_text(encoding="utf-8") == "<h1>好</h1>"
    assert not client.search_registered_models(f"name = '{name}'")  # nothing was promoted


def test_the_alias_follows_promotions_rollbacks_and_pins(
    store: str, uri: str, client: "MlflowClient"
) -> None:
    name = store[-12:]
    settings = MlflowSettings(kind="mlflow", uri=uri, experiment=f"of {name}")
    versions = {}
    for run in ("1", "2", "3"):
        versions[run] = ran(store, name, run)
        promote(store, name, run, LOG_ONLY)
        track(store, name, run, settings)
        assert champion(client, name) == (run, f"{store}/models/{name}/{versions[run]}/")
    linked = client.get_model_version(name, "3").run_id
    assert client.get_run(linked).data.tags["finegate.run"] == "3"
    rollback(store, name, LOG_ONLY)
    follow(store, name, settings)
    assert champion(client, name)[0] == "2"
    follow(store, name, settings)
    pin(store, name, LOG_ONLY, versions["1"], "held")
    follow(store, name, settings)
    assert champion(client, name)[0] == "1"
    assert len(client.search_model_versions(f"name = '{name}'")) == 3


def test_a_telling_that_broke_off_is_completed(
    store: str, uri: str, client: "MlflowClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    name = store[-12:]
    settings = MlflowSettings(kind="mlflow", uri=uri)
    ran(store, name, "1")
    promote(store, name, "1", LOG_ONLY)
    with monkeypatch.context() as broken:

        def fails(*_: object, **__: object) -> None:
            raise OSError("the connection broke")

        broken.setattr(MlflowClient, "log_text", fails)
        track(store, name, "1", settings)
    [run] = runs(client, name)
    assert run.info.status == "RUNNING"
    assert champion(client, name)[0] == "1"  # one failure does not bring the other
    track(store, name, "1", settings)
    [run] = runs(client, name)
    assert run.info.status == "FINISHED"
    if uri.startswith("http"):  # MLflow's files keep a point as often as it is told
        assert len(client.get_metric_history(run.info.run_id, "loss")) == 2


def test_a_server_that_is_away_fails_nothing(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    [port] = processes.free_ports(1)
    ran(store, "m", "1")
    promote(store, "m", "1", LOG_ONLY)
    track(store, "m", "1", MlflowSettings(kind="mlflow", uri=f"http://127.0.0.1:{port}"))
    said = capsys.readouterr().out
    assert "tracking: MLflow was not told of run 1" in said
    assert "tracking: MLflow was not told of the champion of m" in said
    now = promotions.champion(store, "m")
    assert now is not None
    assert promotions.answers(store, "m", now)


def test_an_absent_address_is_told(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    track(store, "m", "1", MlflowSettings.model_validate("mlflow"))
    assert "set tracking.uri or MLFLOW_TRACKING_URI" in capsys.readouterr().out
