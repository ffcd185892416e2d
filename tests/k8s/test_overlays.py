"""What kustomize renders, against the schemas, the restricted profile and the README."""

import re
import shutil

import jsonschema
import kubernetes_validate
import pytest

from pipelines.pods import STEP
from tests.k8s.rendered import (
    CRDS,
    OVERLAYS,
    ROOT,
    Document,
    crd_schema,
    of_kind,
    pods,
    rendered,
    unknown_fields,
)

KUBERNETES = "1.36"
BUILT_IN = {"v1", "apps/v1", "policy/v1", "autoscaling/v2", "networking.k8s.io/v1"}
BUILT_IN |= {"rbac.authorization.k8s.io/v1"}
RESTRICTED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"} | {
    "persistentVolumeClaim",
    "projected",
    "secret",
}

pytestmark = [
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl renders the overlays"),
    pytest.mark.parametrize("overlay", OVERLAYS),
]


def test_kubernetes_own_kinds_fit_its_schemas(overlay: str) -> None:
    checked = 0
    for document in rendered(overlay):
        if document["apiVersion"] in BUILT_IN:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
            checked += 1
    assert checked > 5


@pytest.mark.skipif(not CRDS.is_dir(), reason="the CRDs lie beside the checkout or not at all")
def test_custom_resources_fit_their_crds(overlay: str) -> None:
    checked = 0
    for document in rendered(overlay):
        if document["apiVersion"] not in BUILT_IN:
            schema = crd_schema(document)
            assert schema is not None, f"no CRD for {document['kind']}"
            jsonschema.validate(document, schema)
            assert unknown_fields(document["spec"], schema["properties"]["spec"]) == []
            checked += 1
    assert checked >= 2


def test_everything_stands_in_servings_namespace_or_in_that_of_runs(overlay: str) -> None:
    spaces = {
        document["metadata"].get("namespace", document["metadata"]["name"])
        for document in rendered(overlay)
    }
    [service] = of_kind(overlay, "InferenceService")
    assert spaces == {service["metadata"]["namespace"], _namespace_of_runs(overlay)}
    for space in of_kind(overlay, "Namespace"):
        assert space["metadata"]["name"] != "kubeflow"  # whose deletion would be KFP's


def test_rights_are_granted_to_the_account_of_runs(overlay: str) -> None:
    accounts = {
        (each["metadata"]["name"], each["metadata"]["namespace"])
        for each in of_kind(overlay, "ServiceAccount")
    }
    space = _namespace_of_runs(overlay)
    # Where there is none of ours, runs have the profile's.
    own, theirs = ("finegate-pipeline", space), ("default-editor", space)
    for binding in of_kind(overlay, "RoleBinding"):
        [subject] = binding["subjects"]
        bound = (subject["name"], subject["namespace"])
        assert bound == (own if own in accounts else theirs), binding["metadata"]["name"]


def _namespace_of_runs(overlay: str) -> str:
    """Where the steps look for finegate-store."""
    [store] = [
        each
        for each in of_kind(overlay, "ConfigMap")
        if each["metadata"]["name"] == "finegate-store"
    ]
    return str(store["metadata"]["namespace"])


def test_pods_satisfy_the_restricted_profile(overlay: str) -> None:
    assert pods(overlay)
    for name, pod in pods(overlay).items():
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name
        assert pod["securityContext"]["runAsNonRoot"], name
        for volume in pod.get("volumes", []):
            assert set(volume) - {"name"} <= RESTRICTED_VOLUMES, name
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["runAsNonRoot"], name
            assert context["runAsUser"] > 0, name
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
            assert not context.get("privileged"), name
            assert all("hostPort" not in port for port in container["ports"]), name


def test_pods_ask_for_resources_are_probed_and_cannot_write_their_root(overlay: str) -> None:
    for name, pod in pods(overlay).items():
        for container in pod["containers"]:
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert {"cpu", "memory"} <= set(container["resources"]["limits"]), name
            for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
                assert probe in container, name
            assert container["securityContext"]["readOnlyRootFilesystem"], name
            _, _, tag = container["image"].rpartition(":")
            assert tag, name
            assert tag != "latest", name
        assert all(v["emptyDir"]["sizeLimit"] for v in pod["volumes"] if "emptyDir" in v), name


def test_a_pod_that_asks_nothing_of_the_api_has_no_token(overlay: str) -> None:
    accounts = {each["metadata"]["name"]: each for each in of_kind(overlay, "ServiceAccount")}
    for name, pod in pods(overlay).items():
        assert pod["automountServiceAccountToken"] is False, name
        assert accounts[pod["serviceAccountName"]]["automountServiceAccountToken"] is False, name


def test_no_rule_has_a_wildcard_and_nothing_is_granted_cluster_wide(overlay: str) -> None:
    assert not of_kind(overlay, "ClusterRole")
    assert not of_kind(overlay, "ClusterRoleBinding")
    for role in of_kind(overlay, "Role"):
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
    for binding in of_kind(overlay, "RoleBinding"):
        assert binding["roleRef"]["kind"] == "Role"


def test_secrets_are_named_and_never_held(overlay: str) -> None:
    assert not of_kind(overlay, "Secret")


def test_budgets_policies_and_autoscalers_name_pods_that_exist(overlay: str) -> None:
    services = {each["metadata"]["name"] for each in of_kind(overlay, "InferenceService")}
    for budget in of_kind(overlay, "PodDisruptionBudget"):
        labels = budget["spec"]["selector"]["matchLabels"]
        assert labels["serving.kserve.io/inferenceservice"] in services
    for scaler in of_kind(overlay, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]["name"]
        assert target.removesuffix("-predictor") in services
    for service in of_kind(overlay, "InferenceService"):
        place = service["metadata"]
        selected = f'{{namespace="{place["namespace"]}",model="{place["name"]}"}}'
        for metric in service["spec"]["predictor"].get("autoScaling", {}).get("metrics", []):
            # KServe drops the type, and KEDA divides by the number of pods: only a sum fits that.
            assert metric["external"]["metric"]["query"].startswith("sum(")
            assert selected in metric["external"]["metric"]["query"]
            target = metric["external"]["target"]
            assert (target["type"], target["averageValue"]) == ("AverageValue", target["value"])


def test_where_policies_are_the_predictor_can_be_asked_and_the_rest_is_denied(overlay: str) -> None:
    policies = {
        each["metadata"]["name"]: each["spec"] for each in of_kind(overlay, "NetworkPolicy")
    }
    for policy in policies.values():
        for rule in policy.get("ingress", []):
            assert rule["from"], "open to everyone"
    if "default-deny" not in policies:
        return
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, pod in pods(overlay).items():
        kind, _, own = name.partition(" ")
        policy = policies["finegate-predictor" if kind == "InferenceService" else own]
        opened = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
        assert opened == {p["containerPort"] for c in pod["containers"] for p in c["ports"]}


def test_who_may_reach_s3_may_also_ask_for_its_credentials(overlay: str) -> None:
    agent = {"to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}]}
    for policy in of_kind(overlay, "NetworkPolicy"):
        rules = policy["spec"].get("egress", [])
        if any("to" not in rule for rule in rules):  # S3 is anywhere
            assert {**agent, "ports": [{"protocol": "TCP", "port": 80}]} in rules


def test_in_the_namespace_of_runs_policies_are_about_our_steps_alone(overlay: str) -> None:
    [service] = of_kind(overlay, "InferenceService")
    for policy in of_kind(overlay, "NetworkPolicy"):
        if policy["metadata"]["namespace"] != service["metadata"]["namespace"]:
            [selected] = policy["spec"]["podSelector"]["matchExpressions"]
            assert selected == {"key": STEP, "operator": "Exists"}


def test_the_readmes_table_of_rights_is_what_the_roles_grant(overlay: str) -> None:
    assert granted(of_kind(overlay, "Role")) == stated((ROOT / "README.md").read_text())


def granted(roles: list[Document]) -> set[tuple[str, ...]]:
    """(role, API group, resource, resource names, verbs) of each rule."""
    return {
        (
            role["metadata"]["name"],
            group or "core",
            resource,
            ", ".join(rule.get("resourceNames", [])) or "any",
            ", ".join(rule["verbs"]),
        )
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def stated(readme: str) -> set[tuple[str, ...]]:
    """The rows of the README's table of rights, without the last column, the reason."""
    table = readme.split("| role | API group |", 1)[1].split("\n\n", 1)[0]
    rows = [line for line in table.splitlines()[2:] if line.startswith("|")]
    cells = [[re.sub("`", "", cell.strip()) for cell in row.strip("|").split("|")] for row in rows]
    return {tuple(row[:5]) for row in cells}
