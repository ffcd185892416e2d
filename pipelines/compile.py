"""The pipeline as KFP's IR YAML, which a cluster runs, and as Kubernetes resources for GitOps."""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler
from kfp.compiler.compiler_utils import KubernetesManifestOptions

from pipelines.train_and_promote import train_and_promote

COMPILED = Path(__file__).parent.parent / "compiled" / "train_and_promote.yaml"
MANIFEST = COMPILED.with_suffix(".kubernetes.yaml")


def compile_pipeline(target: Path, registry: str = "") -> None:
    """Write the IR YAML; the same code gives the same bytes.

    `registry`, such as registry.example.com/team, is put before the images' names.
    """
    _write(target, registry)


def compile_manifest(target: Path, namespace: str, registry: str = "") -> None:
    """Write a Pipeline and a PipelineVersion, for a KFP server that stores them in Kubernetes.

    The version is named by the IR's hash: a PipelineVersion cannot be changed.
    """
    version = f"{train_and_promote.name}-{compiled(registry)[1]}"
    _write(
        target,
        registry,
        kubernetes_manifest_format=True,
        kubernetes_manifest_options=KubernetesManifestOptions(
            pipeline_name=train_and_promote.name,
            pipeline_version_name=version,
            namespace=namespace,
            include_pipeline_manifest=True,
        ),
    )


def compiled(registry: str = "") -> tuple[bytes, str]:
    """The IR, and the name of its version: a hash of the bytes."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "pipeline.yaml"
        compile_pipeline(target, registry)
        content = target.read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:12]


def _write(target: Path, registry: str, **options: Any) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(train_and_promote, str(target), **options)
    if registry:
        _pull_from(registry, target)


def _pull_from(registry: str, target: Path) -> None:
    documents = list(yaml.safe_load_all(target.read_text(encoding="utf-8")))
    for document in documents:
        specification = document.get("spec", {}).get("pipelineSpec", document)
        for executor in specification.get("deploymentSpec", {}).get("executors", {}).values():
            container = executor["container"]
            container["image"] = f"{registry.rstrip('/')}/{container['image']}"
    with target.open("w", encoding="utf-8") as file:
        yaml.safe_dump_all(documents, file, allow_unicode=True, sort_keys=True)
