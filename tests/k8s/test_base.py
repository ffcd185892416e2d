"""The manifests against the CRDs (where they lie in ../shared/crds) and against our own code."""

from typing import Any

import pytest
import yaml

from serving.__main__ import options
from serving.server import GRACE_SECONDS, LINGER_SECONDS, SETTLE_SECONDS
from tests.k8s.rendered import CRDS, ROOT, unknown_fields


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


def test_a_pod_may_take_as_long_to_end_as_the_predictor_drains() -> None:
    seconds = kind("InferenceService")["spec"]["predictor"]["terminationGracePeriodSeconds"]
    [container] = kind("ServingRuntime")["spec"]["containers"]
    before_sigterm = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert seconds > before_sigterm + LINGER_SECONDS + SETTLE_SECONDS + GRACE_SECONDS
