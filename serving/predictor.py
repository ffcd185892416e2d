"""The KServe model: a release behind the batcher, swapped in one step when a new one comes."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import orjson
from kserve import InferRequest, InferResponse, Model
from kserve.errors import InvalidInput

from serving.batching import Batcher, OverloadedError
from serving.classifier import Classifier
from serving.errors import InputError
from serving.protocol import (
    Answer,
    Question,
    question_from_v1,
    question_from_v2,
    v1_answer,
    v2_answer,
)
from serving.release import verified_version

logger = logging.getLogger("finegate")
VERSION_HEADER = "x-model-version"


class BadRequestError(InvalidInput):  # type: ignore[misc]
    """A 4xx that the client can mend; KServe's own logs a traceback for each."""


class Loaded:
    """One release in memory."""

    def __init__(self, folder: Path, max_waiting: int) -> None:
        """Verify and load a release folder; raises InputError when it cannot be served."""
        self.folder = folder
        self.version = verified_version(folder)
        self.classifier = Classifier.load(folder)
        self.classifier.classify(["warm-up"])
        self.batcher = Batcher(self.classifier, max_waiting)

    async def answer(self, question: Question) -> Answer:
        """Classify the question's texts behind the other requests that wait."""
        future = self.batcher.submit(question.texts, question.pairs)
        classified = await asyncio.wrap_future(future)
        return Answer(
            labels=self.classifier.labels,
            scores=self.classifier.probabilities(classified.logits),
            logits=classified.logits,
            truncated=classified.truncated,
            version=self.version,
        )


class Predictor(Model):  # type: ignore[misc]
    """Text in, named label probabilities out."""

    def __init__(self, name: str, link: Path, max_waiting: int) -> None:
        """`link` is a release folder, or a link to one that `reload` follows anew."""
        super().__init__(name, return_response_headers=True)
        self._link = link
        self._max_waiting = max_waiting
        self.loaded = Loaded(link.resolve(), max_waiting)
        self.ready = True

    async def reload(self) -> None:
        """Load what the link points to now and swap it in; the old release answers meanwhile.

        Requests that the old release accepted are finished by it. When the new one cannot be
        loaded the old one stays.
        """
        folder = self._link.resolve()
        try:
            fresh = await asyncio.to_thread(Loaded, folder, self._max_waiting)
        except InputError as error:
            logger.error("kept version %s: %s", self.loaded.version, error)
            return
        old, self.loaded = self.loaded, fresh
        old.batcher.close()
        logger.info("version %s answers instead of %s", fresh.version, old.version)

    def validate(self, payload: Any) -> Any:
        """Leave checking to `predict`, whose errors name what was given."""
        return payload

    async def predict(
        self,
        payload: Any,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> dict[str, Any] | InferResponse:
        """Answer a V1 body or a V2 request.

        Raises BadRequestError (400) for a body that breaks a rule, OverloadedError (503) when too
        many texts wait.
        """
        loaded = self.loaded
        try:
            if isinstance(payload, InferRequest):
                question = question_from_v2(payload)
            else:
                question = question_from_v1(_parsed(payload))
            answer = await loaded.answer(question)
        except InputError as error:
            raise BadRequestError(str(error)) from error
        if response_headers is not None:
            response_headers[VERSION_HEADER] = answer.version
        if isinstance(payload, InferRequest):
            return v2_answer(answer, question, self.name, payload)
        return v1_answer(answer, question, self.name)

    def get_input_types(self) -> list[dict[str, Any]]:
        """The V2 inputs."""
        return [{"name": "text", "datatype": "BYTES", "shape": [-1]}]

    def get_output_types(self) -> list[dict[str, Any]]:
        """The V2 outputs; columns of `probabilities` are in the order of the metadata's labels."""
        labels = len(self.loaded.classifier.labels)
        return [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "score", "datatype": "FP32", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, labels]},
            {"name": "truncated", "datatype": "BOOL", "shape": [-1]},
        ]


def _parsed(payload: Any) -> Any:
    """KServe parses `application/json` alone; any other content type arrives as bytes."""
    if not isinstance(payload, bytes):
        return payload
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise InputError(f"the body is not JSON: {error}. Send a JSON object.") from error


__all__ = ["BadRequestError", "OverloadedError", "Predictor"]
