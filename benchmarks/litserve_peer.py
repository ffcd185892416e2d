"""finegate's classifier as a LitServe API, in a module of its own: LitServe's worker imports it."""

from pathlib import Path
from typing import Any

from litserve import LitAPI


class Peer(LitAPI):
    """Texts of all requests in a batch are classified together."""

    def __init__(self, folder: Path, threads: int, **batching: Any) -> None:
        super().__init__(**batching)
        self._folder, self._threads = folder, threads

    def setup(self, device: str) -> None:
        from serving.classifier import Classifier

        self.classifier = Classifier.load(self._folder, self._threads)

    def decode_request(self, request: dict[str, Any], **_: Any) -> list[str]:
        return list(request["instances"])

    def batch(self, inputs: list[list[str]]) -> list[list[str]]:
        return inputs

    def predict(self, x: list[list[str]], **_: Any) -> list[Any]:
        scores = self.classifier.classify([text for texts in x for text in texts])
        ends = iter(range(len(scores)))
        return [[scores[next(ends)].tolist() for _ in texts] for texts in x]

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any, **_: Any) -> dict[str, Any]:
        return {"predictions": output}
