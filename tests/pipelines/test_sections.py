"""The sections that `finegate gate`, `promote`, `pin` and `rollback` take from a run config."""

from pathlib import Path

import pytest

from components.gate_model.settings import GateSettings
from components.promote_model.settings import LocalTarget, LogOnly
from pipelines.sections import section, target
from serving.errors import InputError


def test_a_section_is_read_where_the_others_are_absent(tmp_path: Path) -> None:
    config = tmp_path / "rules.yaml"
    config.write_text("gate: {minimum: {accuracy: 0.9}}\n")
    assert section(GateSettings, config, "gate").minimum == {"accuracy": 0.9}
    assert section(GateSettings, None, "gate") == GateSettings()
    assert isinstance(target(config, tmp_path).target, LogOnly)
    assert isinstance(target(None, tmp_path).target, LocalTarget)


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
        section(GateSettings, config, "gate")
    assert says in str(error.value)
