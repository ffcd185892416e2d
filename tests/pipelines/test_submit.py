"""Runs on a cluster, through the real kfp.Client, against a contract fake of KFP's API."""

from collections.abc import Iterator
from pathlib import Path

import kfp_server_api as kfp_models
import pytest
import yaml
from typer.testing import CliRunner

from components.processes import free_ports
from pipelines import submit
from pipelines.cli import app
from pipelines.cluster import Place
from pipelines.config import load
from serving.errors import InputError
from tests.pipelines.kfp_api import KfpApi, serving
from tests.pipelines.test_schedule import CONFIG


@pytest.fixture
def api() -> Iterator[KfpApi]:
    with serving(KfpApi(page=2)) as served:
        yield served


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    return path


def command(*arguments: str) -> str:
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 0, ended.output
    return str(ended.output)


def with_pods(api: KfpApi, run: str) -> None:
    """Give a run two steps, as KFP's server describes them: a task with its pods below it."""
    detail, child = kfp_models.V2beta1PipelineTaskDetail, kfp_models.PipelineTaskDetailChildTask
    tasks = [
        detail(
            task_id=name,
            display_name=name,
            start_time=api.now(),
            child_tasks=[child(pod_name=f"{name}-pod")],
        )
        for name in ("validate-dataset", "gate-model")
    ]
    api.runs[run].run_details = kfp_models.V2beta1RunDetails(task_details=tasks)
    for name in ("validate-dataset", "gate-model"):
        api.logs[run, f"{name}-pod"] = f"log of {name} 好\n"


def test_a_submitted_run_has_its_arguments_account_and_pipeline(api: KfpApi, config: Path) -> None:
    run = command("submit", str(config), "--set", "training.epochs=7", "--host", api.url).strip()
    made = api.runs[run]
    assert made.runtime_config.parameters["training"] == {"epochs": 7}
    assert made.runtime_config.parameters["promotion"]["target"]["kind"] == "kserve"
    assert made.service_account == "finegate-pipeline"
    assert made.pipeline_version_reference.pipeline_version_id in api.versions


def test_submitting_twice_uploads_the_pipeline_once(api: KfpApi, config: Path) -> None:
    for _ in range(2):
        submit.submit(load(config), Place(host=api.url))
    assert len(api.runs) == 2
    assert len(api.experiments) == 1
    assert sum(call.startswith("POST /pipelines/upload") for call in api.calls) == 2
    assert sorted(api.versions) == sorted({v.pipeline_version_id for v in api.versions.values()})


def test_runs_are_listed_newest_first_over_pages(api: KfpApi, config: Path) -> None:
    made = [submit.submit(load(config), Place(host=api.url)) for _ in range(5)]
    listed = submit.runs(Place(host=api.url), limit=4)
    assert [run.run_id for run in listed] == made[:0:-1]
    assert made[-1] in command("runs", "--host", api.url, "--limit", "1")
    assert submit.runs(Place(host=api.url, experiment="another"), limit=4) == []


def test_logs_come_step_by_step_in_the_order_in_which_they_started(
    api: KfpApi, config: Path
) -> None:
    run = submit.submit(load(config), Place(host=api.url))
    with_pods(api, run)
    printed = command("logs", run, "--host", api.url)
    assert printed.index("==> validate-dataset") < printed.index("log of validate-dataset 好")
    assert printed.index("log of validate-dataset 好") < printed.index("==> gate-model")
    assert "log of gate-model" not in command(
        "logs", run, "--step", "validate-dataset", "--host", api.url
    )
    with pytest.raises(InputError, match=r"no logs of absent; it has: validate-dataset, gate-mod"):
        list(submit.logs(run, Place(host=api.url), "absent"))


def test_a_run_that_is_not_there_is_a_clear_error(api: KfpApi) -> None:
    with pytest.raises(InputError, match="refused to read the run absent: 404"):
        list(submit.logs("absent", Place(host=api.url)))


def test_an_address_where_nothing_answers_is_a_clear_error_at_once(config: Path) -> None:
    [port] = free_ports(1)
    with pytest.raises(InputError, match=rf"no Kubeflow Pipelines answers \(http://.*{port}"):
        submit.submit(load(config), Place(host=f"http://127.0.0.1:{port}"))


def test_every_config_that_ships_is_told_what_it_needs_on_a_cluster() -> None:
    for path in sorted(Path("configs").glob("*.yaml")):
        with pytest.raises(InputError, match="needs store"):
            submit.arguments(load(path))
