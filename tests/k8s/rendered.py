"""The manifests as kustomize renders them, and the pods that KServe makes of them."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
OVERLAYS = sorted(path.parent.name for path in ROOT.glob("k8s/overlays/*/kustomization.yaml"))
CRDS = ROOT.parent / "shared" / "crds"

Document = dict[str, Any]


@cache
def rendered(overlay: str) -> list[Document]:
    """An overlay's documents."""
    ended = subprocess.run(
        ["kubectl", "kustomize", ROOT / "k8s" / "overlays" / overlay],
        capture_output=True,
        text=True,
        check=True,
    )
    return list(yaml.safe_load_all(ended.stdout))


def of_kind(overlay: str, kind: str) -> list[Document]:
    """The documents of one kind."""
    return [document for document in rendered(overlay) if document["kind"] == kind]


def pods(overlay: str) -> dict[str, Document]:
    """Pod specs by name: a template's own, and what KServe merges of a service and its runtime."""
    found = {}
    for document in rendered(overlay):
        template = document.get("spec", {}).get("template", {})
        if "spec" in template:
            found[f"{document['kind']} {document['metadata']['name']}"] = template["spec"]
    runtimes = {
        each["metadata"]["name"]: each["spec"] for each in of_kind(overlay, "ServingRuntime")
    }
    for service in of_kind(overlay, "InferenceService"):
        predictor = service["spec"]["predictor"]
        runtime = runtimes[predictor["model"]["runtime"]]
        found[f"InferenceService {service['metadata']['name']}"] = {
            **{key: runtime[key] for key in ("containers", "volumes") if key in runtime},
            **{key: value for key, value in predictor.items() if key != "model"},
        }
    return found


@cache
def crds() -> list[Document]:
    """The specs of the custom resource definitions beside the checkout."""
    # libyaml's loader: the InferenceService's definition alone has 40,000 lines.
    return [yaml.load(p.read_bytes(), yaml.CSafeLoader)["spec"] for p in CRDS.glob("*.yaml")]


def crd_schema(document: Document) -> Document | None:
    """The structural schema of a custom resource, or None for a kind of Kubernetes itself."""
    for crd in crds():
        if crd["names"]["kind"] == document["kind"]:
            for version in crd["versions"]:
                if document["apiVersion"] == f"{crd['group']}/{version['name']}":
                    return dict(version["schema"]["openAPIV3Schema"])
    return None


def unknown_fields(value: Any, schema: dict[str, Any], place: str = "") -> list[str]:
    """Fields that a structural schema does not know; a server would prune or refuse them."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return []
    if isinstance(value, list):
        return [f for v in value for f in unknown_fields(v, schema["items"], f"{place}[]")]
    if not isinstance(value, dict) or "additionalProperties" in schema:
        return []
    known = schema.get("properties", {})
    found = [f"{place}.{key}" for key in value if key not in known]
    for key in value:
        if key in known:
            found += unknown_fields(value[key], known[key], f"{place}.{key}")
    return found
