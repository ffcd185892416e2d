"""Asks a server all that Triton's own client can ask; prints what it understood as JSON.

A program, because the protobuf modules of tritonclient and kserve both define the package
`inference`, and one process can hold only one of them.
"""

import contextlib
import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException

Texts = list[str]


class Asking:
    """Triton's client of one protocol (`http` or `grpc`) for the model `hotels`."""

    def __init__(self, protocol: str, address: str) -> None:
        self._module = importlib.import_module(f"tritonclient.{protocol}")
        self.client = self._module.InferenceServerClient(address)
        self._http = protocol == "http"

    def tensor(self, name: str, texts: Texts, **form: Any) -> Any:
        tensor = self._module.InferInput(name, [len(texts)], "BYTES")
        data = np.array([text.encode() for text in texts], dtype=object)
        tensor.set_data_from_numpy(data, **form)
        return tensor

    def outputs(self, *names: str, **form: Any) -> Any:
        return [self._module.InferRequestedOutput(name, **form) for name in names]

    def infer(self, inputs: list[Any], model: str = "hotels", **more: Any) -> dict[str, Any]:
        result = self.client.infer(model, inputs, **more)
        given = result.get_response() if self._http else result.get_response(as_json=True)
        names = [output["name"] for output in given["outputs"]]
        labels = given["parameters"]["labels"]
        return {
            "model_name": given["model_name"],
            "model_version": given["model_version"],
            "id": given.get("id"),
            "labels": json.loads(labels if self._http else labels["string_param"]),
            "outputs": {name: _plain(result.as_numpy(name)) for name in names},
        }

    def metadata(self, **more: Any) -> Any:
        return self.client.get_model_metadata("hotels", **more, **self._as_json())

    def server_metadata(self) -> Any:
        return self.client.get_server_metadata(**self._as_json())

    def _as_json(self) -> dict[str, bool]:
        return {} if self._http else {"as_json": True}

    def forms(self) -> list[dict[str, Any]]:
        """The ways to put a tensor into a request: over HTTP as JSON too."""
        return [{"binary_data": True}, {"binary_data": False}] if self._http else [{}]

    def compressed(self) -> dict[str, str]:
        name = "request_compression_algorithm" if self._http else "compression_algorithm"
        return {name: "gzip"}


def _plain(array: Any) -> Any:
    if array.dtype == object:
        return np.array([_text(each) for each in array.ravel()]).reshape(array.shape).tolist()
    return array.tolist()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _error(call: Callable[[], Any]) -> list[str]:
    try:
        call()
    except InferenceServerException as error:
        return [str(error.status()), error.message()]
    return ["answered", ""]


def report(asking: Asking, texts: Texts) -> dict[str, Any]:
    """What each question was answered with."""
    client, tensor = asking.client, asking.tensor
    one = [tensor("text", texts[:1])]
    pairs = [tensor("text", texts[:2]), tensor("text_pair", texts[1:3])]
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model ready": client.is_model_ready("hotels"),
        "version ready": client.is_model_ready("hotels", "one"),
        "metadata": asking.metadata(),
        "server metadata": asking.server_metadata(),
        "texts": [
            asking.infer([tensor("text", texts, **given)], request_id="42", **asked)
            for given in asking.forms()
            for asked in (
                {},
                *(
                    {"outputs": asking.outputs("label", "score", "probabilities", **form)}
                    for form in asking.forms()
                ),
            )
        ],
        "version": asking.infer(one, model_version="one"),
        "pairs": asking.infer(pairs, outputs=asking.outputs("probabilities")),
        "logits": asking.infer(one, outputs=asking.outputs("logits")),
        "raw_logits": asking.infer(one, parameters={"raw_logits": True}),
        "top_k": asking.infer([tensor("text", texts)], parameters={"top_k": 2}),
        "compressed": asking.infer([tensor("text", texts * 50)], **asking.compressed()),
        "errors": {
            name: _error(call)
            for name, call in {
                "model": lambda: asking.infer(one, model="other"),
                "version": lambda: asking.infer(one, model_version="9"),
                "metadata": lambda: asking.metadata(model_version="9"),
                "input": lambda: asking.infer([tensor("txt", texts)]),
                "none": lambda: asking.infer([tensor("text", [])]),
                "output": lambda: asking.infer(one, outputs=asking.outputs("nope")),
                "top_k": lambda: asking.infer(one, parameters={"top_k": 0}),
                "pairs": lambda: asking.infer([tensor("text", texts), pairs[1]]),
                "unload": lambda: client.unload_model("hotels"),
            }.items()
        },
    }


if __name__ == "__main__":
    asking = Asking(*sys.argv[1:3])
    with contextlib.closing(asking.client):
        print(json.dumps(report(asking, json.load(sys.stdin))))  # noqa: T201 - a program's answer
