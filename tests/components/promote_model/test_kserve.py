"""Promotion to an InferenceService: the official client against an API server over HTTP."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import promotions
from components.promote_model.interventions import rollback
from components.promote_model.promotion import RolledBackError, promote
from components.promote_model.settings import Canary, KServeTarget, Prometheus, PromotionSettings
from components.promote_model.targets import inference_service
from components.promote_model.targets.kserve import MODE
from components.promote_model.targets.standard import SCALER
from serving.errors import InputError
from tests.components.promote_model.candidates import judged
from tests.components.promote_model.cluster import Cluster, running, version_of
from tests.http_servers import Handler, listening

ROOT = Path(__file__).parent.parent.parent.parent
STEPS = (10, 50, 100)


@pytest.fixture(params=["Standard", "Knative"])
def cluster(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    with running(request.param) as cluster:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(tmp_path / "kubeconfig")))
        yield cluster


def settings(seconds: int = 20, canary: bool = False, **rules: Any) -> PromotionSettings:
    given = Canary.model_validate({"steps": STEPS, "pause": 0, "rows": 8, "p99_ms": 5000, **rules})
    return PromotionSettings(
        target=KServeTarget(
            namespace="team",
            service="hotels",
            seconds=seconds,
            canary=given if canary else None,
        )
    )


def shares(cluster: Cluster) -> list[tuple[str, int]]:
    return [(version_of(uri), percent) for uri, percent in cluster.traffic]


def test_a_promotion_sets_the_model_address_and_claims_nothing_else(
    cluster: Cluster, store: str
) -> None:
    first = judged(store, "r1")
    assert promote(store, "m", "r1", settings()) == cluster.url
    second = judged(store, "r2")
    promote(store, "m", "r2", settings())
    assert shares(cluster) == [(second, 100)]
    assert cluster.serving == f"{store}/models/m/{second}/"
    [ours] = cluster.object["metadata"]["managedFields"]
    assert ours["manager"] == "finegate"
    assert ours["fieldsV1"] == {"f:spec": {"f:predictor": {"f:model": {"f:storageUri": {}}}}}
    assert cluster.object["spec"]["predictor"]["minReplicas"] == 2
    rollback(store, "m", settings())
    assert shares(cluster) == [(first, 100)]


def test_a_service_that_is_absent_is_created_only_from_the_manifest_it_is_told(
    cluster: Cluster, store: str
) -> None:
    cluster.absent = True
    first = judged(store, "r1")
    with pytest.raises(InputError, match="there is no InferenceService team/hotels"):
        promote(store, "m", "r1", settings())
    assert cluster.absent
    manifest = yaml.safe_load((ROOT / "k8s/base/inference-service.yaml").read_text())
    manifest["metadata"] = {"name": "hotels", "annotations": {MODE: cluster.mode}}
    target = settings().target.model_copy(update={"create": manifest})
    promote(store, "m", "r1", PromotionSettings(target=target))
    assert shares(cluster) == [(first, 100)]
    second = judged(store, "r2")
    promote(store, "m", "r2", PromotionSettings(target=target))
    assert shares(cluster) == [(second, 100)]
    expected = {**manifest["spec"]["predictor"]}
    expected["model"] = {**expected["model"], "storageUri": f"{store}/models/m/{second}/"}
    assert cluster.object["spec"]["predictor"] == expected
    assert "create" in cluster.verbs


def test_a_manifest_of_something_else_is_refused(tmp_path: Path) -> None:
    place = {"kind": "kserve", "namespace": "team", "service": "hotels"}
    with pytest.raises(ValueError, match="cannot be read as a manifest"):
        KServeTarget.model_validate({**place, "create": str(tmp_path / "absent.yaml")})
    base = str(ROOT / "k8s/base/inference-service.yaml")
    with pytest.raises(ValueError, match="hotel-reviews; it must be that"):
        KServeTarget.model_validate({**place, "create": base})
    read = KServeTarget.model_validate({**place, "service": "hotel-reviews", "create": base})
    assert read.create is not None
    assert read.create["spec"]["predictor"]["minReplicas"] == 2


def test_a_healthy_canary_goes_to_all_traffic_by_its_steps(
    cluster: Cluster, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    judged(store, "r1")
    promote(store, "m", "r1", settings(canary=True))
    second = judged(store, "r2")
    promote(store, "m", "r2", settings(canary=True))
    assert shares(cluster) == [(second, 100)]
    assert not cluster.object["spec"].get("canary")
    assert "canaryTrafficPercent" not in cluster.object["spec"]["predictor"]
    said = capsys.readouterr().out
    assert [f"{percent} % of the traffic" in said for percent in STEPS] == [True] * 3
    third = judged(store, "r3")
    promote(store, "m", "r3", settings(canary=True))
    assert shares(cluster) == [(third, 100)]
    assert [event.action for event in promotions.history(store, "m")] == ["promote"] * 3


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("wrong", "a golden row's probability differs by 0.05"),
        ("failing", "a request was answered 500"),
        ("slow", "ms (p99), over 150 ms"),
        ("unready", "was not ready within 2 s"),
    ],
)
def test_a_failing_canary_goes_back_and_says_why(
    cluster: Cluster, store: str, behaviour: str, says: str
) -> None:
    first = judged(store, "r1")
    rules = settings(seconds=2, canary=True, p99_ms=150 if behaviour == "slow" else 5000)
    promote(store, "m", "r1", rules)
    second = judged(store, "r2")
    cluster.behaviours[second] = behaviour
    with pytest.raises(RolledBackError, match="failed at the target"):
        promote(store, "m", "r2", rules)
    assert shares(cluster) == [(first, 100)]
    assert cluster.serving == f"{store}/models/m/{first}/"
    assert not cluster.object["spec"].get("canary")
    assert "canaryTrafficPercent" not in cluster.object["spec"]["predictor"]
    *_, event = promotions.history(store, "m")
    assert (event.action, event.version, event.run) == ("rollback", first, "r2")
    assert says in event.reason
    with pytest.raises(RolledBackError, match="failed at the target"):  # again: the same answer
        promote(store, "m", "r2", rules)
    assert len(promotions.history(store, "m")) == 3


def finegate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command as a person gives it."""
    return subprocess.run(
        [sys.executable, "-c", "from pipelines.cli import main; main()", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_command_line_tells_a_failed_canary_by_its_exit_code(
    cluster: Cluster, store: str, tmp_path: Path
) -> None:
    first, rules = judged(store, "r1"), settings(canary=True)
    section = {"promotion": rules.model_dump(mode="json", exclude_none=True)}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(section))
    for run, behaviour, code in (("r1", "healthy", 0), ("r2", "wrong", 4)):
        cluster.behaviours[judged(store, run)] = behaviour
        config = str(tmp_path / "run.yaml")
        ended = finegate("promote", run, "--store", store, "--config", config)
        assert ended.returncode == code, ended.stderr
    assert "a golden row's probability differs by 0.05" in ended.stderr
    assert f"The champion of m is {first}" in ended.stderr


def test_a_rollback_from_the_command_line_is_of_the_configs_store_and_reaches_the_cluster(
    cluster: Cluster, store: str, tmp_path: Path
) -> None:
    first, rules = judged(store, "r1"), settings()
    promote(store, "m", "r1", rules)
    second = judged(store, "r2")
    promote(store, "m", "r2", rules)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"name": "m", "store": store}))
    rollback = ("rollback", "m", "--config", str(tmp_path / "run.yaml"))
    refused = finegate(*rollback)
    assert refused.returncode == 1
    assert "run.yaml has no promotion.target" in refused.stderr
    assert [event.version for event in promotions.history(store, "m")] == [first, second]
    target = yaml.safe_dump(rules.target.model_dump(mode="json"), default_flow_style=True)
    ended = finegate(*rollback, "--set", f"promotion.target={target}")
    assert ended.returncode == 0, ended.stderr
    assert cluster.serving == f"{store}/models/m/{first}/"
    assert promotions.history(store, "m")[-1].version == first


@pytest.mark.parametrize("scaler", ["keda", "external"])
@pytest.mark.parametrize("cluster", ["Standard"], indirect=True)
def test_a_canary_of_a_service_that_others_scale_is_refused_and_changes_nothing(
    cluster: Cluster, store: str, scaler: str
) -> None:
    first = judged(store, "r1")
    promote(store, "m", "r1", settings(canary=True))
    cluster.object["metadata"]["annotations"][SCALER] = scaler
    second = judged(store, "r2")
    with pytest.raises(InputError, match=f"{scaler}, so no canary can take over"):
        promote(store, "m", "r2", settings(canary=True))
    assert shares(cluster) == [(first, 100)]
    promote(store, "m", "r2", settings())  # as the error says, without canary
    assert shares(cluster) == [(second, 100)]


def test_a_model_that_the_cluster_cannot_load_goes_back_without_a_canary_too(
    cluster: Cluster, store: str
) -> None:
    first = judged(store, "r1")
    promote(store, "m", "r1", settings())
    cluster.behaviours[judged(store, "r2")] = "broken"
    with pytest.raises(RolledBackError, match="could not load it: ModelLoadFailed no such file"):
        promote(store, "m", "r2", settings())
    assert shares(cluster) == [(first, 100)]


@pytest.mark.parametrize(("errors", "p99", "fails"), [("0.2", "1", True), ("NaN", "90", False)])
def test_prometheus_can_stop_a_canary(
    cluster: Cluster, store: str, errors: str, p99: str, fails: bool
) -> None:
    asked = []

    class Api(Handler):
        def do_GET(self) -> None:
            asked.append(self.path)
            value = p99 if "histogram_quantile" in self.path else errors
            self.send_json({"data": {"result": [{"metric": {}, "value": [0, value]}]}})

    with listening(Api) as url:
        rules = settings(canary=True, prometheus=Prometheus(url=url).model_dump())
        judged(store, "r1")
        promote(store, "m", "r1", rules)
        judged(store, "r2")
        if fails:
            with pytest.raises(RolledBackError, match=r"share of failed requests of 0\.2"):
                promote(store, "m", "r2", rules)
        else:
            promote(store, "m", "r2", rules)
    assert "namespace%3D%22team%22" in asked[0]
    assert "hotels-" in asked[0]


def test_a_gateway_is_asked_in_the_name_of_the_services_host(cluster: Cluster, store: str) -> None:
    cluster.public = "http://hotels.team.example.invalid"
    rules = settings(canary=True)
    assert isinstance(rules.target, KServeTarget)
    target = rules.target.model_copy(update={"gateway": cluster.url})
    for run in ("r1", "r2"):
        judged(store, run)
        url = promote(store, "m", run, PromotionSettings(target=target))
    assert url == cluster.public
    assert cluster.hosts == {"hotels.team.example.invalid"}


def test_a_canary_follows_a_rolled_back_one(cluster: Cluster, store: str) -> None:
    judged(store, "r1")
    promote(store, "m", "r1", settings(canary=True))
    cluster.behaviours[judged(store, "r2")] = "wrong"
    with pytest.raises(RolledBackError):
        promote(store, "m", "r2", settings(canary=True))
    third = judged(store, "r3")
    promote(store, "m", "r3", settings(canary=True))
    assert shares(cluster) == [(third, 100)]


def test_the_client_uses_the_verbs_that_the_role_grants_and_no_others(
    cluster: Cluster, store: str
) -> None:
    judged(store, "r1")
    promote(store, "m", "r1", settings(canary=True))
    cluster.behaviours[judged(store, "r2")] = "wrong"
    with pytest.raises(RolledBackError):
        promote(store, "m", "r2", settings(canary=True))
    documents = yaml.safe_load_all((ROOT / "k8s" / "base" / "promoter.yaml").read_text())
    [role] = [document for document in documents if document["kind"] == "Role"]
    [rule] = role["rules"]
    assert set(rule["verbs"]) == cluster.verbs
    assert rule["apiGroups"] == [inference_service.GROUP]
    assert rule["resources"] == [inference_service.PLURAL]


def test_a_watch_that_breaks_is_begun_anew(cluster: Cluster, store: str) -> None:
    judged(store, "r1")
    promote(store, "m", "r1", settings())
    second = judged(store, "r2")
    cluster.behaviours[second] = "unready"
    cluster.breaks_watches, seen = True, cluster.watches
    with ThreadPoolExecutor(1) as pool:
        promoting = pool.submit(promote, store, "m", "r2", settings(seconds=60))
        while cluster.watches < seen + 3:
            assert not promoting.done()
            time.sleep(0.02)
        cluster.breaks_watches = False
        cluster.recover(second)
        assert promoting.result() == cluster.url
    assert shares(cluster) == [(second, 100)]


def test_a_cluster_that_does_not_answer_is_named(
    cluster: Cluster, store: str, tmp_path: Path
) -> None:
    judged(store, "r1")
    cluster.stop()
    with pytest.raises(InputError, match="the cluster of InferenceService team/hotels does not"):
        promote(store, "m", "r1", settings())
    assert promotions.champion(store, "m") is not None  # decided; the next try rolls it out
