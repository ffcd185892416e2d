"""The TrainJob of a training, built from data: Kubeflow Trainer v2."""

import os
from typing import Any

from components.finetune_model.job import Job
from components.finetune_model.settings import ClusterSettings

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
PASSED_ON = ("AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION")
SECRET_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def name_of(job: Job) -> str:
    """The TrainJob's name: the same training has the same, so a retry finds it."""
    return f"finetune-{job.facts['fingerprint']}"


def resource(job: Job, cluster: ClusterSettings) -> dict[str, Any]:
    """The TrainJob (trainer.kubeflow.org/v1alpha1) that trains `job`.

    The image is the runtime's, unless the settings name one. The runtime sets torchrun's PET_*
    variables from numNodes and numProcPerNode; every process gets the job as one argument.
    Environment goes to spec.trainer.env: patches on the container are refused there.
    """
    environment: list[dict[str, Any]] = [
        {"name": name, "value": os.environ[name]} for name in PASSED_ON if name in os.environ
    ]
    environment.append({"name": "OMP_NUM_THREADS", "value": str(threads(cluster))})
    if cluster.secret is not None:
        environment += [
            {
                "name": key,
                "valueFrom": {
                    "secretKeyRef": {
                        "name": cluster.secret,
                        "key": key,
                        # only temporary credentials have a token
                        "optional": key == "AWS_SESSION_TOKEN",
                    }
                },
            }
            for key in SECRET_KEYS
        ]
    # Kubernetes expands $(NAME) in arguments; $$ is how it writes a dollar sign there.
    argument = job.model_dump_json().replace("$(", "$$(")
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {
            "name": name_of(job),
            "namespace": cluster.namespace,
            "labels": {"app.kubernetes.io/part-of": "finegate"},
        },
        "spec": {
            "runtimeRef": {
                "apiGroup": GROUP,
                "kind": cluster.runtime_kind,
                "name": cluster.runtime,
            },
            "trainer": {
                **({"image": cluster.image} if cluster.image else {}),
                "command": ["torchrun", "-m", "components.finetune_model"],
                "args": ["--job", argument],
                "env": environment,
                "numNodes": cluster.nodes,
                "numProcPerNode": cluster.processes_per_node,
                "resourcesPerNode": {
                    "requests": dict(cluster.resources),
                    "limits": dict(cluster.resources),
                },
            },
        },
    }


def threads(cluster: ClusterSettings) -> int:
    """Threads of a process: its share of a node's cores, and one where these are not named.

    PyTorch itself would count the cores of the machine instead of those that the pod may use.
    """
    from kubernetes.utils.quantity import parse_quantity

    cores = int(parse_quantity(cluster.resources.get("cpu", "1")))
    return max(1, cores // cluster.processes_per_node)
