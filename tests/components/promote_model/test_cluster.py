"""The stand-in cluster keeps to what it stands for, else the tests on it prove nothing."""

from typing import Any

import pytest

from tests.components.promote_model.cluster import CRDS, refused, running

URI = "s3://b/models/m/v1/"


def body(spec: dict[str, Any]) -> dict[str, Any]:
    return {"spec": spec}


def test_an_apply_that_leaves_a_field_out_drops_it_unless_another_manager_has_it() -> None:
    with running("Knative") as cluster:
        cluster.apply(body({"predictor": {"minReplicas": 3}}), "argocd")
        ours = {"model": {"storageUri": URI}, "canaryTrafficPercent": 10, "minReplicas": 3}
        cluster.apply(body({"predictor": ours}), "finegate")
        generation = cluster.object["metadata"]["generation"]
        left = cluster.apply(body({"predictor": {"model": {"storageUri": URI}}}), "finegate")
        predictor = left["spec"]["predictor"]
        assert "canaryTrafficPercent" not in predictor
        assert predictor["minReplicas"] == 3
        assert predictor["model"]["runtime"] == "finegate"
        assert left["metadata"]["generation"] == generation + 1
        again = cluster.apply(body({"predictor": {"model": {"storageUri": URI}}}), "finegate")
        assert again["metadata"]["generation"] == generation + 1


@pytest.mark.skipif(not CRDS.is_dir(), reason="the CRDs lie beside the checkout or not at all")
@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"predictor": {"model": {"storageUrl": URI}}}, "unknown field spec.predictor.model"),
        ({"predictor": {"canaryTrafficPercent": "10"}}, "is no integer"),
        (
            {"predictor": {}, "canary": [{"trafficPercent": 10, "predictor": {"name": "a"}}]},
            "",
        ),
        ({"predictor": {}, "canary": [{"predictor": {"name": "a"}}]}, "trafficPercent is missing"),
        (
            {"predictor": {}, "canary": [{"trafficPercent": 101, "predictor": {"name": "a"}}]},
            "out of range",
        ),
        (
            {
                "predictor": {},
                "canary": [
                    {
                        "trafficPercent": 10,
                        "predictor": {"name": "a", "model": {"storageUri": URI}},
                    }
                ],
            },
            "modelFormat is missing",
        ),
    ],
)
def test_what_the_crd_does_not_allow_is_refused(spec: dict[str, Any], says: str) -> None:
    found = refused(body(spec))
    assert says in found
    assert bool(says) == bool(found)
