"""The training runtime: the pods that Kubeflow Trainer makes of it, and its TrainJob."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from components.finetune_model.settings import ClusterSettings
from components.images import TRAINER_IMAGE
from tests.k8s.rendered import CRDS, ROOT, crd_schema, unknown_fields

KUBERNETES = "1.36"
TRAINING = ROOT / "k8s" / "training"

pytestmark = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl renders the manifests"
)


@cache
def documents(folder: Path = TRAINING) -> dict[str, Any]:
    ended = subprocess.run(
        ["kubectl", "kustomize", folder],
        capture_output=True,
        text=True,
        check=True,
    )
    return {each["kind"]: each for each in yaml.safe_load_all(ended.stdout)}


def pod(folder: Path = TRAINING) -> dict[str, Any]:
    [job] = documents(folder)["TrainingRuntime"]["spec"]["template"]["spec"]["replicatedJobs"]
    return dict(job["template"]["spec"]["template"])


@pytest.mark.skipif(not CRDS.is_dir(), reason="the CRDs lie beside the checkout or not at all")
def test_the_runtime_fits_its_crd() -> None:
    runtime = documents()["TrainingRuntime"]
    schema = crd_schema(runtime)
    assert schema is not None
    jsonschema.validate(runtime, schema)
    assert unknown_fields(runtime["spec"], schema["properties"]["spec"]) == []


def test_its_pods_fit_kubernetes_and_the_restricted_profile() -> None:
    template = pod()
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "node"}}
    kubernetes_validate.validate({**document, "spec": template["spec"]}, KUBERNETES, strict=True)
    spec = template["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["automountServiceAccountToken"] is False
    [container] = spec["containers"]
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert container["image"].rpartition(":")[2] not in ("", "latest")
    assert {"cpu", "memory"} <= set(container["resources"]["limits"])
    assert all(volume["emptyDir"]["sizeLimit"] for volume in spec["volumes"])
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/dev/shm", "/tmp"}


def test_an_overlay_sets_the_registry_of_the_trainer_image(tmp_path: Path) -> None:
    [container] = pod()["spec"]["containers"]
    assert container["image"] == TRAINER_IMAGE
    name, _, tag = TRAINER_IMAGE.partition(":")
    overlay = {
        "namespace": "team",
        "resources": [os.path.relpath(TRAINING, tmp_path.resolve())],
        "images": [{"name": name, "newName": f"registry.example.com/team/{name}"}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    [container] = pod(tmp_path)["spec"]["containers"]
    assert container["image"] == f"registry.example.com/team/{name}:{tag}"


def test_its_pods_have_the_account_whose_role_reaches_s3(tmp_path: Path) -> None:
    accounts = documents(ROOT / "k8s" / "runs")["ServiceAccount"]["metadata"]["name"]
    assert pod()["spec"]["serviceAccountName"] == accounts
    profile = yaml.safe_load((ROOT / "k8s/overlays/profile/kustomization.yaml").read_text())
    [patch] = [
        each
        for each in profile["patches"]
        if each.get("target", {}).get("kind") == "TrainingRuntime"
    ]
    overlay = {"resources": [os.path.relpath(TRAINING, tmp_path.resolve())], "patches": [patch]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    assert pod(tmp_path)["spec"]["serviceAccountName"] == "default-editor"


def test_the_policy_selects_the_pods_and_a_config_names_the_runtime() -> None:
    labels = pod()["metadata"]["labels"]
    for document in documents().values():
        if document["kind"] == "NetworkPolicy":
            assert document["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    runtime = documents()["TrainingRuntime"]
    named = ClusterSettings(namespace="team")
    assert (runtime["metadata"]["name"], runtime["kind"]) == (named.runtime, named.runtime_kind)
    assert "*" not in str(documents()["Role"]["rules"])
