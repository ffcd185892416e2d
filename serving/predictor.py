"""The KServe model: a release behind the batcher, swapped in one step when a new one comes."""

import asyncio
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from kserve import InferRequest, InferResponse, Model
from kserve.errors import ModelNotFound

from serving import metrics
from serving.batching import Batcher
from serving.classifier import Classifier
from serving.errors import InputError
from serving.protocol import Answer, Question, question_from_v1, v1_answer
from serving.protocol_v2 import question_from_v2, v2_answer
from serving.release import verified_release

logger = logging.getLogger("finegate")

VERSION_HEADER = "x-model-version"
LARGE_BYTES = 1 << 16
LARGE_TEXTS = 256
"""Requests from here on are parsed and answered in a thread, so that health checks do not wait."""

P = ParamSpec("P")
T = TypeVar("T")


async def aside(large: bool, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread when it is `large`, else at once."""
    if large:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)


class Loaded:
    """One release in memory, ready to answer."""

    def __init__(self, folder: Path, max_queue: int, max_wait: float, threads: int) -> None:
        """Verify, load and try a release folder; raises InputError when it cannot be served."""
        try:
            release = verified_release(folder)
            self.version, self.reference = release.version, release.reference
            self.classifier = Classifier.load(folder, threads)
            tried = self.classifier.classify(["warm-up", "warm-up of another length"])
            self.classifier.warm_up()
        except InputError:
            raise
        except Exception as error:  # transformers raises whatever its readers raise
            raise InputError(
                f"the model in {folder} cannot be served ({type(error).__name__}: {error}). Give "
                "a folder with which transformers' pipeline('text-classification') answers texts "
                "of all lengths up to its model_max_length, two of different lengths in one batch; "
                "a decoder needs pad_token_id in its config.json for that."
            ) from error
        if not np.isfinite(tried).all():
            raise InputError(
                f"the model in {folder} answers with NaN or infinity. Its weights are damaged or "
                "overflowed in training; promote another release."
            )
        self.batcher = Batcher(self.classifier, max_queue, max_wait)

    async def answer(self, question: Question) -> Answer:
        """Classify the question's texts together with what else waits."""
        future = self.batcher.submit(question.texts, question.pairs)
        classified = await asyncio.wrap_future(future)
        metrics.record_answer(
            self.classifier, classified.scores, classified.truncated, self.version
        )
        return Answer(
            labels=self.classifier.labels,
            scores=classified.scores,
            logits=classified.logits,
            truncated=classified.truncated,
            version=self.version,
        )


class Predictor(Model):
    """Text in, named label probabilities out."""

    def __init__(
        self,
        name: str,
        link: Path,
        max_queue: int,
        threads: int = 0,
        *,
        max_wait: float = math.inf,
    ) -> None:
        """`link` is a release folder, or a link to one that `reload` follows anew.

        `threads` of the forward pass; 0 takes one for each core. Raises InputError when the
        release cannot be served.
        """
        super().__init__(name, return_response_headers=True)
        self._link = link
        self._max_queue = max_queue
        self._max_wait = max_wait
        self._threads = threads
        self.draining = False
        """True from SIGTERM on: not ready any more, and still answering."""
        self.closed = False
        """True once new calls are refused, over connections that last: gRPC cannot close them."""
        self._swap(self._load())
        self.ready = True

    async def reload(self) -> None:
        """Load what the link points to now and swap it in; the old release answers meanwhile.

        Requests that the old release accepted are finished by it. When the new one cannot be
        loaded the old one stays.
        """
        try:
            fresh = await asyncio.to_thread(self._load)
        except Exception as error:
            metrics.RELOADS.labels("failed").inc()
            unexpected = None if isinstance(error, InputError) else error
            logger.error("kept version %s: %s", self.loaded.version, error, exc_info=unexpected)
            return
        old = self.loaded
        self._swap(fresh)
        old.batcher.close()
        metrics.RELOADS.labels("loaded").inc()
        logger.info("version %s answers instead of %s", fresh.version, old.version)

    @property
    def alive(self) -> bool:
        """Liveness: false once a worker has ended on a fault, after which nothing is answered."""
        return self.loaded.batcher.alive

    async def healthy(self) -> bool:
        """Readiness: a release is loaded, its worker lives, and the process is not draining."""
        return self.ready and not self.draining and self.alive

    def check_served(self, name: str, version: str | None) -> None:
        """Raises ModelNotFound unless `name`, and `version` where one is asked for, answer now."""
        if name != self.name:
            raise ModelNotFound(name[:200])
        if version and version != self.loaded.version:
            raise ModelNotFound(f"{name} and version {version[:200]}")

    def validate(self, payload: Any) -> Any:
        """Leave checking to `predict`, whose errors name what was given."""
        return payload

    async def predict(
        self,
        payload: bytes | dict[str, Any] | InferRequest,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> dict[str, Any] | InferResponse:
        """Answer a V1 body (JSON, or parsed) or a V2 request.

        Raises InputError for one that breaks a rule, ModelNotFound for a V2 request of a version
        that was swapped out while it was read, OverloadedError when too many texts wait.
        """
        v2 = isinstance(payload, InferRequest)
        question: Question = await aside(
            isinstance(payload, bytes) and len(payload) >= LARGE_BYTES,
            question_from_v2 if v2 else question_from_v1,
            payload,
        )
        if isinstance(payload, InferRequest):
            self.check_served(self.name, payload.model_version)
        answer = await self.loaded.answer(question)
        if response_headers is not None:
            response_headers[VERSION_HEADER] = answer.version
        large = len(question.texts) >= LARGE_TEXTS
        if v2:
            return await aside(large, v2_answer, answer, question, self.name, payload)
        return await aside(large, v1_answer, answer, question, self.name)

    def get_input_types(self) -> list[dict[str, Any]]:
        """The V2 inputs; text_pair is for models that were trained on pairs, and optional."""
        return [
            {"name": "text", "datatype": "BYTES", "shape": [-1]},
            {"name": "text_pair", "datatype": "BYTES", "shape": [-1], "optional": True},
        ]

    def get_output_types(self) -> list[dict[str, Any]]:
        """The V2 outputs; columns are in the order of the metadata's labels."""
        labels = len(self.loaded.classifier.labels)
        return [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "score", "datatype": "FP32", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, labels]},
            {"name": "truncated", "datatype": "BOOL", "shape": [-1]},
            {"name": "logits", "datatype": "FP32", "shape": [-1, labels], "optional": True},
            {"name": "top_labels", "datatype": "BYTES", "shape": [-1, -1], "optional": True},
            {"name": "top_scores", "datatype": "FP32", "shape": [-1, -1], "optional": True},
        ]

    def metadata(self) -> dict[str, Any]:
        """The V2 model metadata: tensors, and as parameters labels, problem type and length."""
        classifier = self.loaded.classifier
        return {
            "name": self.name,
            "versions": [self.loaded.version],
            "platform": f"finegate_{classifier.backend.name}",
            "inputs": self.get_input_types(),
            "outputs": self.get_output_types(),
            "parameters": {
                "labels": list(classifier.labels),
                "problem_type": classifier.problem_type,
                "max_length": classifier.encoder.max_length,
                "long_texts": classifier.long_texts,
            },
        }

    def _load(self) -> Loaded:
        # What it points to now, for all files alike. A link through another container's /proc, as
        # KServe makes for a model in an image, can be followed and has no path of its own.
        folder = self._link.resolve()
        if not (folder.exists() and folder.samefile(self._link)):
            folder = self._link
        return Loaded(folder, self._max_queue, self._max_wait, self._threads)

    def _swap(self, fresh: Loaded) -> None:
        self.loaded = fresh
        metrics.record_release(self.name, fresh.version, fresh.classifier, fresh.reference)
