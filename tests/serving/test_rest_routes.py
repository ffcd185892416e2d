"""Over HTTP, which routes there are and what they tell of server and model."""

import json

import httpx
import pytest

from tests.serving.conftest import Server, v2


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/models/other:predict", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/hotels/versions/9/infer", 404),
        ("GET", "/v2/models/hotels/versions/9/ready", 404),
        ("POST", "/v2/models/hotels/versions/one/infer", 200),
        ("GET", "/v2/models/hotels/versions/one/ready", 200),
        ("POST", "/v1/models/hotels:explain", 405),
        ("POST", "/v1/models/hotels:predict/", 404),
        ("POST", "/v2/repository/models/hotels/unload", 404),
        ("POST", "/v2/repository/models/hotels/load", 404),
        ("GET", "/", 200),
        ("GET", "/v2/health/live", 200),
        ("GET", "/v2/health/ready", 200),
        ("GET", "/v1/models/hotels", 200),
    ],
)
def test_routes_that_are_not_offered_are_a_4xx(
    server: Server, method: str, path: str, status: int
) -> None:
    body = json.dumps(v2(["us"])).encode() if method == "POST" else None
    answer = httpx.request(method, server.url(path), content=body)
    assert answer.status_code == status
    assert (status == 200) != ("error" in answer.json())


def test_metadata_tells_inputs_outputs_labels_and_version(server: Server) -> None:
    metadata = server.get("/v2/models/hotels").json()
    assert metadata["versions"] == ["one"]
    assert [each["name"] for each in metadata["inputs"]] == ["text", "text_pair"]
    assert metadata["outputs"][2] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}
    assert metadata["parameters"] == {
        "labels": ["praise", "blame", "neutral"],
        "problem_type": "single_label_classification",
        "max_length": 24,
        "long_texts": "truncate",
    }
    assert server.get("/v2").json()["extensions"] == ["binary_tensor_data"]
