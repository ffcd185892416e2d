import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.gate_model.settings import GateSettings
from components.tracking.settings import MlflowSettings
from pipelines.config import RunConfig, load
from pipelines.train_and_promote import train_and_promote
from serving.errors import InputError

CONFIGS = sorted((Path(__file__).parent.parent.parent / "configs").glob("*.yaml"))
MINIMAL: dict[str, Any] = {
    "name": "hotels",
    "dataset": {"path": "d.csv"},
    "base_model": {"hub": {"id": "hfl/rbt3"}},
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_that_ships_is_valid(path: Path) -> None:
    assert load(path).name


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_steps_read_back_what_the_config_said(path: Path) -> None:
    config = load(path)
    arguments = config.arguments()
    again = RunConfig.model_validate({**arguments, "store": config.store})
    for section in ("dataset", "base_model", "validation", "tokenization", "training", "gate"):
        assert getattr(again, section) == getattr(config, section)


def test_a_check_that_is_left_out_stays_left_out_in_a_run(written: Path) -> None:
    config = load(written, ["gate.champion=null", "gate.serving=null"])
    arguments = json.loads(json.dumps(config.arguments()))
    assert arguments["gate"] == {"champion": False, "serving": False}  # kfp refuses null
    assert GateSettings.model_validate(arguments["gate"]) == config.gate
    assert (config.gate.champion, config.gate.serving) == (None, None)
    assert "gate" not in load(written).arguments()


def test_overrides_reach_deep_and_are_yaml(written: Path) -> None:
    config = load(written, ["training.learning_rate=1.0e-3", "dataset={path: other.csv, limit: 5}"])
    assert config.training.learning_rate == 1e-3
    assert (config.dataset.path, config.dataset.limit) == ("other.csv", 5)


def test_what_a_run_asks_of_the_cluster_is_the_pipelines_own_parameters(written: Path) -> None:
    place = "cluster={gpus: 2, cpu: '8', tolerations: [{key: gpu, operator: Exists}]}"
    arguments = load(written, [place]).arguments()
    parameters = inspect.signature(train_and_promote.pipeline_func).parameters
    assert set(arguments) <= set(parameters)
    assert arguments["gpus"] == "2"
    assert arguments["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert "node_selector" not in arguments
    assert "serving_gpus" not in arguments
    assert load(written, ["export={device: gpu}"]).arguments()["serving_gpus"] == "1"


@pytest.mark.parametrize(
    ("given", "uri"), [("mlflow", ""), ("{kind: mlflow, uri: 'http://m'}", "http://m")]
)
def test_a_tracking_server_is_named_by_its_kind_alone_or_with_its_address(
    written: Path, given: str, uri: str
) -> None:
    config = load(written, [f"tracking={given}"])
    assert config.tracking is not None
    assert config.tracking.uri == uri
    assert MlflowSettings.model_validate(config.arguments()["tracking"]) == config.tracking
    assert "tracking" not in load(written).arguments()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["training.epoch=1"], "unknown key training.epoch; did you mean epochs?"),
        (["tracking={kind: mlflow, url: x}"], "unknown key tracking.url; did you mean uri?"),
        (["tracking=wandb"], "tracking.kind: Input should be 'mlflow'"),
        (["trainning.epochs=1"], "unknown key trainning; did you mean training?"),
        (["training.epochs=many"], "training.epochs"),
        (["training.zero_stage=7"], "training.zero_stage"),
        (["name=Hotel Reviews"], "DNS label"),
        (["store=/tmp/x"], "write s3://bucket/prefix"),
        (["dataset.url=https://x/d.csv"], "give exactly one of hub, path, url, s3 and pypi"),
        (["base_model={}"], "give exactly one of hub, path, s3, pypi, architecture"),
        (["gate.minimum={acuracy: 1}"], "gate.minimum.acuracy"),
        (["gate.data={conflict: 0.1}"], "gate.data.conflict.[key]: Input should be"),
        (
            ["gate.data={conflicts: 0.1}", "validation.conflicts=ignore"],
            "gate: Value error, gate.data has a bound for conflicts, which validation ignores",
        ),
        (["nothing"], "is not key=value"),
        (["name.x=1"], "is no mapping"),
        (["name={"], "is not YAML"),
    ],
)
def test_a_mistake_is_told_with_its_key_and_remedy(
    written: Path, overrides: list[str], says: str
) -> None:
    with pytest.raises(InputError) as error:
        load(written, overrides)
    assert says in str(error.value)


def test_a_file_that_is_absent_broken_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        load(tmp_path / "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: [")
    with pytest.raises(InputError, match="is not YAML"):
        load(broken)
    broken.write_text("")
    with pytest.raises(InputError, match="holds no mapping"):
        load(broken)
    broken.write_text("name: hotels\n")
    with pytest.raises(InputError, match="dataset is missing; add it"):
        load(broken)
