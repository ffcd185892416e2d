"""The manifests against the CRDs (where they lie in ../shared/crds) and against our own code."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.__main__ import options

ROOT = Path(__file__).parent.parent.parent
CRDS = ROOT.parent / "shared" / "crds"


def manifests() -> list[dict[str, Any]]:
    base = ROOT / "k8s" / "base"
    kustomization = yaml.safe_load((base / "kustomization.yaml").read_text())
    return [
        document
        for name in kustomization["resources"]
        for document in yaml.safe_load_all((base / name).read_text())
    ]


def kind(name: str) -> dict[str, Any]:
    [found] = [each for each in manifests() if each["kind"] == name]
    return found


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


@pytest.mark.skipif(not CRDS.is_dir(), reason="the CRDs lie beside the checkout or not at all")
@pytest.mark.parametrize(
    ("name", "crd"),
    [
        ("ServingRuntime", "kserve-servingruntimes.yaml"),
        ("InferenceService", "kserve-inferenceservices.yaml"),
    ],
)
def test_the_crds_know_every_field(name: str, crd: str) -> None:
    body = kind(name)
    [version] = yaml.safe_load((CRDS / crd).read_text())["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    assert body["apiVersion"].endswith(version["name"])
    assert unknown_fields(body["spec"], schema["properties"]["spec"]) == []


def test_the_runtime_starts_the_predictor_with_options_that_it_has() -> None:
    [container] = kind("ServingRuntime")["spec"]["containers"]
    given = options(container["args"])
    assert (str(given.model_dir), given.model_name) == ("/mnt/models", "{{.Name}}")
    ports = {port["containerPort"] for port in container["ports"]}
    assert ports == {given.http_port, given.grpc_port}


def test_git_leaves_the_model_address_to_promotion() -> None:
    assert "storageUri" not in kind("InferenceService")["spec"]["predictor"]["model"]


def test_the_predictor_satisfies_the_restricted_profile() -> None:
    [container] = kind("ServingRuntime")["spec"]["containers"]
    context = container["securityContext"]
    assert context["runAsNonRoot"]
    assert context["readOnlyRootFilesystem"]
    assert not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert not container["image"].endswith(":latest")
