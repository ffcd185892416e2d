"""What k8s/monitoring holds, and its rules as a plain file, as Prometheus itself reads them."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
MONITORING = ROOT / "k8s" / "monitoring"
DASHBOARDS = sorted(path.stem for path in MONITORING.glob("dashboards/*.json"))
SECONDS_OF = {"5m": 5, "30m": 8, "1h": 10, "2h": 12, "6h": 15, "1d": 20, "3d": 30}


def groups() -> list[dict[str, Any]]:
    """The PrometheusRule's groups."""
    document = yaml.safe_load((MONITORING / "rules.yaml").read_text())
    found: list[dict[str, Any]] = document["spec"]["groups"]
    return found


def alerts() -> list[dict[str, Any]]:
    """The alerting rules."""
    return [rule for group in groups() for rule in group["rules"] if "alert" in rule]


def write_rules(path: Path) -> None:
    """Write the rules as a file of Prometheus."""
    path.write_text(yaml.safe_dump({"groups": groups()}))


def write_short_rules(path: Path) -> None:
    """The same rules with windows of seconds, so that a test sees an alert come and go."""
    found = groups()
    for group in found:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule["expr"] = re.sub(
                r"\[(\w+)\]", lambda match: f"[{SECONDS_OF[match[1]]}s]", rule["expr"]
            )
            if "for" in rule:
                rule["for"] = "2s"
    path.write_text(yaml.safe_dump({"groups": found}))


def dashboard(name: str) -> dict[str, Any]:
    """A Grafana dashboard."""
    found: dict[str, Any] = json.loads((MONITORING / "dashboards" / f"{name}.json").read_text())
    return found


def queries(name: str) -> list[tuple[str, str]]:
    """Title and PromQL of everything that a dashboard asks, its variables' choices included."""
    board = dashboard(name)
    found = [
        (panel["title"], target["expr"])
        for panel in board["panels"]
        for target in panel.get("targets", [])
    ]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            [series] = re.findall(r"label_values\((.+), \w+\)", variable["query"]["query"])
            found.append((f"variable {variable['name']}", series))
    return found
