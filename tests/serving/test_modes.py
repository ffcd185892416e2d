"""What the release says of long texts and of its problem, as clients meet it over HTTP and gRPC."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from serving.classifier import Classifier
from serving.settings import SERVING
from tests.serving.conftest import INFER, Server, release, v2

TEXTS = ["the room was clean", "awful noisy hotel", "our stay " * 30]
Started = tuple[Server, Classifier]


@pytest.fixture
def start_with(tiny_model: Path, tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Starts a server with keys of config.json changed, and serving.json as given."""
    started: list[Server] = []

    def starting(config: dict[str, Any], **settings: str) -> Started:
        model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
        document = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps({**document, **config}))
        (model / SERVING).write_text(json.dumps(settings))
        server = Server(release(model, tmp_path / "one", "one"), tmp_path)
        started.append(server)
        server.wait_for("one")
        return server, Classifier.load(model)

    yield starting
    for server in started:
        server.kill()


def over_grpc(server: Server, texts: list[str]) -> dict[str, Any]:
    data = pb.InferTensorContents(bytes_contents=[text.encode() for text in texts])
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="text", datatype="BYTES", shape=[len(texts)], contents=data
    )
    answer = server.stub().ModelInfer(pb.ModelInferRequest(model_name="hotels", inputs=[tensor]))
    return {output.name: output.contents for output in answer.outputs}


def check_answers(server: Server, classifier: Classifier, truncated: list[bool]) -> None:
    """V1, V2 and gRPC give the classifier's scores, which its own tests hold against peers."""
    expected = classifier.classify(TEXTS)
    v1 = server.post({"instances": TEXTS}).json()["predictions"]
    for prediction, scores in zip(v1, expected, strict=True):
        named = dict(zip(classifier.labels, scores.tolist(), strict=True))
        found = {each["label"]: each["score"] for each in prediction["scores"]}
        assert found == pytest.approx(named, abs=1e-5)
        assert prediction["label"] == max(named, key=named.__getitem__)
    assert [each["truncated"] for each in v1] == truncated
    body = server.post(v2(TEXTS), INFER).json()
    rest = {each["name"]: each["data"] for each in body["outputs"]}
    assert np.allclose(rest["probabilities"], expected.ravel(), atol=1e-5)
    assert rest["truncated"] == truncated
    rpc = over_grpc(server, TEXTS)
    assert np.allclose(rpc["probabilities"].fp32_contents, expected.ravel(), atol=1e-5)
    assert list(rpc["truncated"].bool_contents) == truncated


@pytest.mark.parametrize(
    ("problem", "lies_in"),
    [("multi_label_classification", (0, 1)), ("regression", (-np.inf, np.inf))],
)
def test_the_problem_of_the_model_decides_what_its_outputs_become(
    start_with: Callable[..., Started], problem: str, lies_in: tuple[float, float]
) -> None:
    server, classifier = start_with({"problem_type": problem})
    check_answers(server, classifier, [False, False, True])
    metadata = server.get("/v2/models/hotels").json()
    assert metadata["parameters"]["problem_type"] == problem
    scores = classifier.classify(TEXTS)
    assert ((scores > lies_in[0]) & (scores < lies_in[1])).all()
    assert (np.abs(scores.sum(axis=1) - 1) > 0.01).all()  # no softmax


def test_windows_pool_what_lies_beyond_the_maximum_length(
    start_with: Callable[..., Started],
) -> None:
    server, classifier = start_with({}, long_texts="window")
    check_answers(server, classifier, [False, False, False])
    beyond = "our stay " * 30 + "awful noisy hotel " * 30
    [one], [other] = (
        server.post({"instances": [text]}).json()["predictions"] for text in (TEXTS[2], beyond)
    )
    assert one["score"] != pytest.approx(other["score"], abs=1e-3)


def test_long_texts_are_refused_by_number_where_that_was_asked_for(
    start_with: Callable[..., Started],
) -> None:
    server, classifier = start_with({}, long_texts="reject")
    answers = [server.post({"instances": TEXTS}), server.post(v2(TEXTS), INFER)]
    with pytest.raises(grpc.RpcError) as error:
        over_grpc(server, TEXTS)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert [answer.status_code for answer in answers] == [400, 400]
    for says in (*(answer.json()["error"] for answer in answers), error.value.details()):
        assert says.startswith("text 2 (counted from 0) is longer than the 24 tokens")
    short = server.post({"instances": TEXTS[:2]}).json()["predictions"]
    found = [each["score"] for each in short]
    assert found == pytest.approx(classifier.classify(TEXTS[:2]).max(axis=1).tolist(), abs=1e-5)
