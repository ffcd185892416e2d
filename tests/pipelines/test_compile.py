from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipelines.compile import COMPILED, compile_manifest, compile_pipeline, compiled
from pipelines.pods import STEP
from pipelines.progress import STEPS
from tests.k8s.rendered import CRDS, ROOT, crd_schema


def test_the_committed_yaml_is_what_the_code_compiles_to(tmp_path: Path) -> None:
    compile_pipeline(tmp_path / "fresh.yaml")
    fresh = (tmp_path / "fresh.yaml").read_bytes()
    assert fresh == COMPILED.read_bytes(), "run `finegate compile` and commit compiled/"


def ir() -> tuple[dict[str, Any], dict[str, Any]]:
    """The pipeline's specification, and its executors' settings on Kubernetes by step."""
    pipeline, platform = yaml.safe_load_all(COMPILED.read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return pipeline, {name.removeprefix("exec-"): each for name, each in executors.items()}


def tasks() -> dict[str, Any]:
    """Every task of the pipeline and of the pipelines in it."""
    pipeline, _ = ir()
    dags = [pipeline["root"], *pipeline["components"].values()]
    return {n: t for c in dags if "dag" in c for n, t in c["dag"]["tasks"].items()}


def steps() -> set[str]:
    return {name.replace("_", "-") for name in (*STEPS, "notify_run")}


def test_kfp_reuses_no_steps_result_because_steps_know_by_fingerprint() -> None:
    named = {name: task for name, task in tasks().items() if name in steps()}
    assert set(named) == steps()
    assert all(not task.get("cachingOptions") for task in named.values())


def test_a_rejected_candidate_is_not_promoted_by_the_graph() -> None:
    conditions = [t["triggerPolicy"] for t in tasks().values() if "triggerPolicy" in t]
    [condition] = [each["condition"] for each in conditions if "condition" in each]
    assert "'rejected'" in condition
    assert "!=" in condition


def test_the_notification_is_sent_whichever_way_the_steps_end() -> None:
    task = tasks()["notify-run"]
    assert task["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert task["inputs"]["parameters"]["status"]["taskFinalStatus"]


def test_every_step_is_tried_again_with_backoff_and_ends_in_time() -> None:
    _, pods = ir()
    assert set(pods) == steps()
    for name in steps():
        policy = tasks()[name]["retryPolicy"]
        assert policy["maxRetryCount"] == 3
        assert policy["backoffFactor"] == 2
        assert int(pods[name]["activeDeadlineSeconds"]) >= 7200


def test_every_step_runs_as_the_images_user_with_the_stores_keys_if_there_are_some() -> None:
    _, pods = ir()
    for pod in pods.values():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == "65532"
        assert {each["secretName"]: each["optional"] for each in pod["secretAsEnv"]}["finegate-s3"]
        assert pod["configMapAsEnv"][0]["configMapName"] == "finegate-store"


def test_pods_that_train_and_score_get_what_the_run_asks_for() -> None:
    pipeline, pods = ir()
    for name in ("finetune-model", "evaluate-model"):
        resources = pipeline["deploymentSpec"]["executors"][f"exec-{name}"]["container"][
            "resources"
        ]
        assert "cpu" in resources["resourceCpuLimit"]
        assert "memory" in resources["resourceMemoryLimit"]
        inputs = tasks()[name]["inputs"]["parameters"]
        assert inputs["pipelinechannel--cpu"] == {"componentInputParameter": "cpu"}
        selector = pods[name]["nodeSelector"]["nodeSelectorJson"]
        assert selector == {"componentInputParameter": "node_selector"}
        [toleration] = pods[name]["tolerations"]
        assert toleration["tolerationJson"] == {"componentInputParameter": "tolerations"}
        [volume] = pods[name]["emptyDirMounts"]
        assert (volume["mountPath"], volume["medium"]) == ("/dev/shm", "Memory")
    # KFP's driver takes resources from strings, and a number for none.
    parameters = pipeline["root"]["inputDefinitions"]["parameters"]
    asked = ("cpu", "memory", "gpus", "serving_gpus")
    assert {parameters[name]["parameterType"] for name in asked} == {"STRING"}


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("finetune-model", "gpus"),
        ("export-model", "serving_gpus"),
        ("evaluate-model", "serving_gpus"),
        ("gate-model", "serving_gpus"),
    ],
)
def test_gpus_go_to_what_trains_and_to_what_runs_the_exported_model(
    name: str, parameter: str
) -> None:
    pipeline, _ = ir()
    container = pipeline["deploymentSpec"]["executors"][f"exec-{name}"]["container"]
    accelerator = container["resources"]["accelerator"]
    assert accelerator["resourceType"] == "nvidia.com/gpu"
    assert f"pipelinechannel--{parameter}'" in accelerator["resourceCount"]
    inputs = tasks()[name]["inputs"]["parameters"]
    assert inputs[f"pipelinechannel--{parameter}"] == {"componentInputParameter": parameter}


@pytest.mark.parametrize("secret", ["finegate-webhook", "finegate-mlflow"])
def test_only_the_notification_knows_whom_to_tell(secret: str) -> None:
    _, pods = ir()
    knowing = [n for n, pod in pods.items() if secret in str(pod["secretAsEnv"])]
    assert knowing == ["notify-run"]


def test_each_pod_is_labelled_by_its_step_and_the_monitor_selects_the_one_that_trains() -> None:
    _, pods = ir()
    labels = {name: pod["podMetadata"]["labels"] for name, pod in pods.items()}
    assert labels == {name: {STEP: name} for name in steps()}
    monitors = yaml.safe_load_all((ROOT / "k8s" / "monitoring" / "monitors.yaml").read_text())
    selectors = [each["spec"]["selector"].get("matchLabels") for each in monitors]
    assert labels["finetune-model"] in selectors


def test_a_registry_is_put_before_the_images_and_nothing_else_changes(tmp_path: Path) -> None:
    compile_pipeline(tmp_path / "theirs.yaml", "registry.example.com/team/")
    theirs, platform = yaml.safe_load_all((tmp_path / "theirs.yaml").read_text())
    ours, same = yaml.safe_load_all(COMPILED.read_text())
    containers = [e["container"] for e in theirs["deploymentSpec"]["executors"].values()]
    assert {each["image"].rpartition(":")[0] for each in containers} == {
        "registry.example.com/team/finegate/data",
        "registry.example.com/team/finegate/trainer",
    }
    for each in containers:
        each["image"] = each["image"].removeprefix("registry.example.com/team/")
    assert (theirs, platform) == (ours, same)
    assert compiled("registry.example.com/team")[1] != compiled()[1]


def test_the_kubernetes_form_is_the_same_pipeline_named_by_its_hash(tmp_path: Path) -> None:
    compile_manifest(tmp_path / "manifest.yaml", "team-a")
    pipeline, version = yaml.safe_load_all((tmp_path / "manifest.yaml").read_text())
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    assert version["metadata"]["name"] == f"{pipeline['metadata']['name']}-{compiled()[1]}"
    assert {each["metadata"]["namespace"] for each in (pipeline, version)} == {"team-a"}
    specification, platform = yaml.safe_load_all(COMPILED.read_text())
    assert version["spec"]["pipelineSpec"] == specification
    assert version["spec"]["platformSpec"] == platform


@pytest.mark.skipif(not CRDS.is_dir(), reason="the CRDs lie beside the checkout or not at all")
def test_the_kubernetes_form_fits_the_crds(tmp_path: Path) -> None:
    compile_manifest(tmp_path / "manifest.yaml", "team-a")
    for document in yaml.safe_load_all((tmp_path / "manifest.yaml").read_text()):
        schema = crd_schema(document)
        assert schema is not None
        jsonschema.validate(document, schema)
