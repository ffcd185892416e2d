"""The alerting rules, by promtool."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.k8s.monitoring import ROOT, alerts, write_rules

CASES = Path(__file__).parent / "alerts.yaml"

promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian's prometheus)"
)


@promtool
def test_each_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    write_rules(tmp_path / "rules.yaml")
    shutil.copy(CASES, tmp_path)
    ended = subprocess.run(
        ["promtool", "test", "rules", CASES.name], cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_each_alert_has_a_case_where_it_fires() -> None:
    cases = yaml.safe_load(CASES.read_text())["tests"]
    fires = {
        check["alertname"]
        for case in cases
        for check in case["alert_rule_test"]
        if check["exp_alerts"]
    }
    assert fires == {rule["alert"] for rule in alerts()}


@promtool
def test_the_cases_find_a_rule_that_is_wrong(tmp_path: Path) -> None:
    write_rules(tmp_path / "rules.yaml")
    shutil.copy(CASES, tmp_path)
    wrong = (tmp_path / "rules.yaml").read_text().replace("> 0.2", "> 0.02")
    (tmp_path / "rules.yaml").write_text(wrong)
    ended = subprocess.run(
        ["promtool", "test", "rules", CASES.name], cwd=tmp_path, capture_output=True
    )
    assert ended.returncode != 0


def test_each_alert_has_a_severity_and_a_runbook_that_exists() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    sections = {title.lower() for title in re.findall(r"^### (\w+)$", page, re.MULTILINE)}
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning")
        address, _, section = rule["annotations"]["runbook_url"].partition("#")
        assert address.endswith("docs/monitoring.md")
        assert section == rule["alert"].lower()
        assert section in sections
