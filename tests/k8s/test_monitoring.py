"""What kustomize makes of k8s/monitoring. The operator's CRDs are not at hand, so the monitors'
fields are checked against what they must select, not against a schema."""

import json
import shutil
import subprocess
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipelines import schedule_file
from serving.metrics import MODEL
from tests.k8s.monitoring import DASHBOARDS, MONITORING, ROOT, groups, queries

pytestmark = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl renders the manifests"
)


@cache
def rendered() -> list[dict[str, Any]]:
    ended = subprocess.run(
        ["kubectl", "kustomize", MONITORING], capture_output=True, text=True, check=True
    )
    return list(yaml.safe_load_all(ended.stdout))


def monitor(name: str) -> dict[str, Any]:
    [found] = [
        each
        for each in rendered()
        if each["kind"] in ("PodMonitor", "ServiceMonitor") and each["metadata"]["name"] == name
    ]
    return dict(found["spec"])


def test_each_dashboard_is_a_config_map_that_grafanas_sidecar_finds() -> None:
    maps = [each for each in rendered() if each["kind"] == "ConfigMap"]
    found = {}
    for each in maps:
        kubernetes_validate.validate(each, "1.36", strict=True)
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        [(file, content)] = each["data"].items()
        found[file] = json.loads(content)
    assert set(found) == {f"{name}.json" for name in DASHBOARDS}
    assert len({board["uid"] for board in found.values()}) == len(DASHBOARDS) == 3


def test_every_panel_asks_the_chosen_prometheus_and_says_its_unit() -> None:
    for name in DASHBOARDS:
        for panel in json.loads((MONITORING / "dashboards" / f"{name}.json").read_text())["panels"]:
            if panel["type"] != "row":
                assert panel["datasource"]["uid"] == "${datasource}"
                assert panel["fieldConfig"]["defaults"]["unit"]
        assert queries(name)


def test_the_predictors_monitor_scrapes_the_port_that_the_runtime_opens() -> None:
    runtime = yaml.safe_load((ROOT / "k8s" / "base" / "serving-runtime.yaml").read_text())
    ports = {p["name"]: p for c in runtime["spec"]["containers"] for p in c["ports"]}
    [endpoint] = monitor("finegate-predictor")["podMetricsEndpoints"]
    assert ports[endpoint["port"]]["containerPort"] == 8080
    assert endpoint["relabelings"][0]["targetLabel"] == "model"
    assert "model" not in MODEL._labelnames  # it would come back as exported_model


def test_the_dashboards_monitor_selects_its_service() -> None:
    path = ROOT / "k8s" / "components" / "dashboard" / "dashboard.yaml"
    [service] = [d for d in yaml.safe_load_all(path.read_text()) if d["kind"] == "Service"]
    spec = monitor("finegate-dashboard")
    assert spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert spec["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]


def test_a_schedule_of_the_rules_is_one_that_is_scheduled() -> None:
    [rule] = [
        rule
        for group in groups()
        for rule in group["rules"]
        if rule.get("record") == "model:finegate_schedule_period:seconds"
    ]
    path = ROOT / "configs" / "schedules" / "hotel_reviews.yaml"
    [schedule] = schedule_file.read(path).schedules
    config = yaml.safe_load((path.parent / schedule.config).read_text())
    assert rule["labels"] == {"model": config["name"]}
    assert schedule.cron == "0 0 3 * * *"  # daily
    assert rule["expr"] == "vector(86400)"


def test_it_can_be_applied_to_any_namespace() -> None:
    assert {each["kind"] for each in rendered()} == {
        "ConfigMap",
        "PodMonitor",
        "PrometheusRule",
        "ServiceMonitor",
    }
    for each in rendered():
        assert "namespace" not in each["metadata"]
        assert each["metadata"]["labels"]["app.kubernetes.io/part-of"] == "finegate"
