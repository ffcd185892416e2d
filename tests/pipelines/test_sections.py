"""What `finegate gate`, `promote`, `pin` and `rollback` take from a run config."""

from pathlib import Path

import pytest

from components.gate_model.settings import GateSettings
from components.promote_model.settings import KServeTarget, LocalTarget, LogOnly
from pipelines.sections import read
from serving.errors import InputError

TARGET = "promotion.target={kind: kserve, namespace: finegate, service: m}"


def test_a_section_is_read_where_the_others_are_absent(tmp_path: Path) -> None:
    config = tmp_path / "rules.yaml"
    config.write_text("gate: {minimum: {accuracy: 0.9}}\n")
    rules = read(config).get(GateSettings, "gate")
    assert rules is not None
    assert rules.minimum == {"accuracy": 0.9}
    assert read(None).get(GateSettings, "gate") is None


def test_the_store_is_the_given_one_else_the_configs_else_the_embedded_one(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("store: s3://team/finegate\n")
    assert read(config).store(None) == "s3://team/finegate"
    assert read(config).store("s3://other") == "s3://other"
    assert read(config, ["store=s3://set"]).store(None) == "s3://set"
    assert read(None).store(None) is None
    with pytest.raises(InputError, match=r"--set: store: Input should be a valid string"):
        read(None, ["store=5"]).store(None)


def test_a_config_must_name_a_target_and_without_one_it_is_this_machine(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("store: s3://team/finegate\n")
    assert isinstance(read(None).target(tmp_path).target, LocalTarget)
    with pytest.raises(InputError, match=r"run\.yaml has no promotion\.target, so where"):
        read(config).target(tmp_path)
    for given in (read(config, [TARGET]), read(None, [TARGET])):
        assert given.target(tmp_path).target == KServeTarget(namespace="finegate", service="m")
    config.write_text("promotion: {target: {kind: log}}\n")
    assert isinstance(read(config).target(tmp_path).target, LogOnly)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"gate: {minimun: {accuracy: 0.9}}", "gate: unknown key minimun; did you mean minimum?"),
        (b"- gate", "holds no mapping"),
        (b"gate: \xff", "is not YAML"),
    ],
)
def test_a_mistake_in_it_is_told_with_its_file_and_remedy(
    tmp_path: Path, content: bytes, says: str
) -> None:
    config = tmp_path / "rules.yaml"
    config.write_bytes(content)
    with pytest.raises(InputError, match=r"rules\.yaml") as error:
        read(config).get(GateSettings, "gate")
    assert says in str(error.value)
