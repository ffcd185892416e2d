"""Requests and answers of the V1 and V2 protocols: parsing and formatting, no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse
from kserve.protocol.infer_type import InferInput

from serving.classifier import Floats
from serving.errors import InputError

MAX_TEXTS = 10_000
"""Texts in one request."""


@dataclass(frozen=True)
class Question:
    """What a client asks."""

    texts: list[str]
    pairs: list[str] | None
    top_k: int | None = None
    raw_logits: bool = False


@dataclass(frozen=True)
class Answer:
    """What the classifier found: arrays of shape [texts, labels] in the order of `labels`."""

    labels: tuple[str, ...]
    scores: Floats
    logits: Floats
    truncated: Sequence[bool]
    version: str


def question_from_v1(body: Any) -> Question:
    """Parse a V1 body, `{"instances": [text | {"text", "text_pair"}], "parameters": {...}}`.

    Raises InputError that names what was given and the rule.
    """
    if not isinstance(body, dict) or "instances" not in body:
        raise InputError(
            f"the body is {_kind(body)} without instances; send "
            '{"instances": ["a text", "another"]}.'
        )
    instances = body["instances"]
    if not isinstance(instances, list):
        raise InputError(f"instances is {_kind(instances)}; send a list of texts.")
    _check_count(len(instances))
    texts, pairs = [], []
    for place, instance in enumerate(instances):
        text, pair = instance, None
        if isinstance(instance, dict):
            unknown = sorted(set(instance) - {"text", "text_pair"})
            if unknown:
                raise InputError(
                    f"instances[{place}] has the key {unknown[0]!r}; it takes text and text_pair."
                )
            text, pair = instance.get("text"), instance.get("text_pair")
        texts.append(_text(text, f"instances[{place}]"))
        if pair is not None:
            pairs.append(_text(pair, f"instances[{place}].text_pair"))
    parameters = body.get("parameters")
    return _question(texts, pairs, {} if parameters is None else parameters)


def question_from_v2(request: InferRequest) -> Question:
    """Parse a V2 request: BYTES inputs `text`, and `text_pair` for pairs, of shape [N] or [N, 1].

    Raises InputError that names what was given and the rule.
    """
    inputs = {each.name: each for each in request.inputs}
    if "text" not in inputs or set(inputs) - {"text", "text_pair"}:
        raise InputError(
            f"the inputs are named {', '.join(sorted(inputs)) or 'nothing'}; send one named text, "
            "and one named text_pair when the model takes pairs."
        )
    texts = _bytes_input(inputs["text"])
    pairs = _bytes_input(inputs["text_pair"]) if "text_pair" in inputs else []
    parameters = {
        name: getattr(value, value.WhichOneof("parameter_choice") or "", None)
        if hasattr(value, "WhichOneof")
        else value
        for name, value in dict(request.parameters or {}).items()
        if name in ("top_k", "raw_logits")
    }
    return _question(texts, pairs, parameters)


def v1_answer(answer: Answer, question: Question, name: str) -> dict[str, Any]:
    """A V1 body: for each text its best label, and the labels with their scores, best first."""
    predictions = []
    for row, (scores, logits) in enumerate(zip(answer.scores, answer.logits, strict=True)):
        order = np.argsort(-scores, kind="stable")[: question.top_k]
        prediction: dict[str, Any] = {
            "label": answer.labels[order[0]],
            "score": float(scores[order[0]]),
            "scores": [{"label": answer.labels[i], "score": float(scores[i])} for i in order],
            "truncated": bool(answer.truncated[row]),
        }
        if question.raw_logits:
            prediction["logits"] = [
                {"label": answer.labels[i], "logit": float(logits[i])} for i in order
            ]
        predictions.append(prediction)
    return {"predictions": predictions, "model_name": name, "model_version": answer.version}


def v2_answer(
    answer: Answer, question: Question, name: str, request: InferRequest
) -> InferResponse:
    """A V2 response: label BYTES [N], score FP32 [N], probabilities FP32 [N, C], truncated BOOL."""
    best = answer.scores.argmax(axis=1)
    rows = np.arange(len(best))
    outputs = [
        _output("label", "BYTES", [answer.labels[index] for index in best], request),
        _output("score", "FP32", answer.scores[rows, best], request),
        _output("probabilities", "FP32", answer.scores, request),
        _output("truncated", "BOOL", np.asarray(answer.truncated, dtype=bool), request),
    ]
    if question.raw_logits:
        outputs.append(_output("logits", "FP32", answer.logits, request))
    return InferResponse(
        response_id=request.id or "",
        model_name=name,
        model_version=answer.version,
        infer_outputs=outputs,
        from_grpc=request.from_grpc,
        parameters={"labels": "\n".join(answer.labels)},
        use_binary_outputs=request.use_binary_outputs,
        requested_outputs=request.request_outputs,
    )


def _output(name: str, datatype: str, values: Any, request: InferRequest) -> InferOutput:
    shape = [len(values)] if isinstance(values, list) else list(values.shape)
    output = InferOutput(name=name, shape=shape, datatype=datatype)
    array = np.array([v.encode() for v in values], dtype=object) if datatype == "BYTES" else values
    output.set_data_from_numpy(array, binary_data=request.from_grpc or request.use_binary_outputs)
    return output


def _question(texts: list[str], pairs: list[str], parameters: Any) -> Question:
    if pairs and len(pairs) != len(texts):
        raise InputError(
            f"{len(pairs)} of {len(texts)} texts have a text_pair; give it with each text or none."
        )
    if not isinstance(parameters, dict):
        raise InputError(f"parameters is {_kind(parameters)}; send an object.")
    unknown = sorted(set(parameters) - {"top_k", "raw_logits"})
    if unknown:
        raise InputError(f"parameters has {unknown[0]!r}; it takes top_k and raw_logits.")
    top_k, raw_logits = parameters.get("top_k"), parameters.get("raw_logits", False)
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        raise InputError(f"parameters.top_k is {top_k!r}; it is an integer from 1 on.")
    if type(raw_logits) is not bool:
        raise InputError(f"parameters.raw_logits is {raw_logits!r}; it is true or false.")
    return Question(texts, pairs or None, top_k, raw_logits)


def _bytes_input(given: InferInput) -> list[str]:
    if given.datatype != "BYTES":
        raise InputError(f"input {given.name} has the datatype {given.datatype}; it takes BYTES.")
    shape = list(given.shape)
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1):
        raise InputError(f"input {given.name} has the shape {shape}; it takes [N] or [N, 1].")
    try:
        values = np.asarray(given.as_numpy(), dtype=object).reshape(-1).tolist()
    except (ValueError, TypeError) as error:
        raise InputError(
            f"input {given.name} cannot be read as {shape} BYTES: {error}. Its data must be as "
            "many texts as its shape says."
        ) from error
    _check_count(len(values))
    return [_text(value, f"{given.name}[{place}]") for place, value in enumerate(values)]


def _text(value: Any, place: str) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{place} is not UTF-8 ({error.reason}); send UTF-8.") from error
    if not isinstance(value, str):
        raise InputError(f"{place} is {_kind(value)}; it must be a text.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{place} holds a lone surrogate; send valid Unicode.") from error
    return value


def _check_count(count: int) -> None:
    if not 1 <= count <= MAX_TEXTS:
        raise InputError(f"the request holds {count} texts; send 1 to {MAX_TEXTS}.")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null"}
    return names.get(type(value), f"a {type(value).__name__}")
