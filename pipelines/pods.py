"""What the tasks' pods are on Kubernetes. kfp.local reads none of this.

What differs between clusters is a parameter of the pipeline, so that one compiled file serves all;
what does not is written here.
"""

from typing import Any

from kfp import dsl, kubernetes

USER = 65532
"""docker/root_filesystem.sh makes it."""
HOUR = 3600
STEP = "finegate/step"
"""Label by which k8s/monitoring and k8s/components/network-runs find our pods among a cluster's."""

# Optional: with a role of the pod's (IRSA, pod identity) there are no keys, and on AWS no endpoint.
_KEYS = {name: name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")}
_TRACKING = {
    f"MLFLOW_TRACKING_{name}": f"MLFLOW_TRACKING_{name}"
    for name in ("URI", "USERNAME", "PASSWORD", "TOKEN")
}
_SERVER = {name: name for name in ("AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION")}


def light(task: dsl.PipelineTask, *, cpu: str = "2", memory: str = "8Gi") -> dsl.PipelineTask:
    """A task of minutes on CPUs: it may be evicted and tried again, and takes up where it was."""
    task.set_cpu_request("500m").set_cpu_limit(cpu)
    task.set_memory_request("1Gi").set_memory_limit(memory)
    task.set_retry(
        num_retries=3, backoff_duration="30s", backoff_factor=2, backoff_max_duration="600s"
    )
    kubernetes.set_timeout(task, 2 * HOUR)
    return _common(task)


def heavy(task: dsl.PipelineTask, *, cpu: Any, memory: Any) -> dsl.PipelineTask:
    """A task that trains or scores, with the resources that the run asks for."""
    task.set_cpu_request(cpu).set_cpu_limit(cpu)
    task.set_memory_request(memory).set_memory_limit(memory)
    task.set_retry(
        num_retries=3, backoff_duration="60s", backoff_factor=2, backoff_max_duration="1800s"
    )
    kubernetes.set_timeout(task, 24 * HOUR)
    # Processes of one pod exchange gradients and batches there; a container's own has 64 MiB.
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit="8Gi")
    kubernetes.add_pod_annotation(task, "cluster-autoscaler.kubernetes.io/safe-to-evict", "false")
    return _common(task)


def with_gpus(task: dsl.PipelineTask, count: Any) -> dsl.PipelineTask:
    """A task with that many GPUs. KFP's driver reads resources from strings: a number is no GPU."""
    return task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(count)


def on_nodes(task: dsl.PipelineTask, selector: Any, tolerations: Any) -> dsl.PipelineTask:
    """A task on the nodes that the run names."""
    kubernetes.add_node_selector_json(task, selector)
    kubernetes.add_toleration_json(task, tolerations)
    return task


def notifying(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """The exit task, which knows the webhook and the tracking server if the namespace has them."""
    kubernetes.use_secret_as_env(
        task, "finegate-webhook", {"url": "FINEGATE_WEBHOOK_URL"}, optional=True
    )
    kubernetes.use_secret_as_env(task, "finegate-mlflow", _TRACKING, optional=True)
    return light(task, cpu="500m", memory="2Gi")


def _common(task: dsl.PipelineTask) -> dsl.PipelineTask:
    kubernetes.add_pod_label(task, STEP, task.name)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.use_secret_as_env(task, "finegate-s3", _KEYS, optional=True)
    kubernetes.use_config_map_as_env(task, "finegate-store", _SERVER, optional=True)
    # Each step knows by fingerprint what is done already, also when a URL's content changed or the
    # store was cleaned, of which KFP's cache knows nothing.
    return task.set_caching_options(False)
