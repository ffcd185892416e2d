"""The V2 (Open Inference Protocol) form of a question and its answer: names, shapes, parameters.

https://github.com/kserve/open-inference-protocol
"""

from typing import Any

import numpy as np
import orjson
from kserve import InferInput, InferOutput, InferRequest, InferResponse

from serving.errors import InputError
from serving.protocol import Answer, Question, check_count, flag_of, text_of, top_k_of

INPUTS = ("text", "text_pair")
OUTPUTS = ("label", "score", "probabilities", "truncated")
MORE_OUTPUTS = ("logits", "top_labels", "top_scores")
"""Answered when they are asked for, by name or by the parameters raw_logits and top_k."""


def question_from_v2(request: InferRequest) -> Question:
    """The question in a V2 request: BYTES inputs `text`, and `text_pair` for pairs, [N] or [N, 1].

    Raises InputError that names what was given, the rule and the remedy.
    """
    inputs = {each.name: each for each in request.inputs}
    if "text" not in inputs or set(inputs) - set(INPUTS) or len(inputs) < len(request.inputs):
        names = ", ".join(repr(each.name[:40]) for each in request.inputs[:5])
        raise InputError(
            f"the inputs are named {names or 'nothing'}; send one named text, and one named "
            "text_pair when the model takes pairs."
        )
    texts = _input_texts(inputs["text"])
    pairs = _input_texts(inputs["text_pair"]) if "text_pair" in inputs else None
    if pairs is not None and len(pairs) != len(texts):
        raise InputError(
            f"text holds {len(texts)} texts and text_pair {len(pairs)}; give as many of each."
        )
    asked = [output.name for output in request.request_outputs or []]
    for place, name in enumerate(asked):
        if name not in (*OUTPUTS, *MORE_OUTPUTS) or name in asked[:place]:
            raise InputError(
                f"the output {name[:40]!r} was asked for{' twice' * (name in asked[:place])}; ask "
                f"for {_listed((*OUTPUTS, *MORE_OUTPUTS))}, each once."
            )
    parameters = request.parameters or {}
    return Question(texts, pairs, top_k_of(parameters), flag_of(parameters, "raw_logits"))


def v2_answer(
    answer: Answer, question: Question, name: str, request: InferRequest
) -> InferResponse:
    """A V2 response with the outputs that were asked for by name, else OUTPUTS.

    label BYTES [N] and score FP32 [N] of the best label, probabilities and logits FP32 [N, C] in
    the order of the parameter `labels` (a JSON list), truncated BOOL [N], top_labels BYTES [N, K]
    and top_scores FP32 [N, K] of the K best labels, best first.
    """
    names = np.array([label.encode() for label in answer.labels], dtype=object)
    best = answer.scores.argmax(axis=1)
    asked = [output.name for output in request.request_outputs or []]
    if not asked:
        asked = [*OUTPUTS, *["logits"] * question.raw_logits]
        asked += ["top_labels", "top_scores"] if question.top_k else []
    values: dict[str, tuple[str, Any]] = {
        "label": ("BYTES", names[best]),
        "score": ("FP32", answer.scores[np.arange(len(best)), best]),
        "probabilities": ("FP32", answer.scores),
        "truncated": ("BOOL", np.asarray(answer.truncated, dtype=bool)),
        "logits": ("FP32", answer.logits),
    }
    if not {"top_labels", "top_scores"}.isdisjoint(asked):
        order = np.argsort(-answer.scores, axis=1, kind="stable")[:, : question.top_k]
        values["top_labels"] = ("BYTES", names[order])
        values["top_scores"] = ("FP32", np.take_along_axis(answer.scores, order, axis=1))
    outputs = []
    for output in asked:
        datatype, array = values[output]
        tensor = InferOutput(name=output, shape=list(array.shape), datatype=datatype)
        tensor.set_data_from_numpy(array, binary_data=request.use_binary_outputs)
        outputs.append(tensor)
    return InferResponse(
        response_id=request.id or "",
        model_name=name,
        model_version=answer.version,
        infer_outputs=outputs,
        from_grpc=request.from_grpc,
        parameters={"labels": orjson.dumps(answer.labels).decode()},
        use_binary_outputs=request.use_binary_outputs,
        requested_outputs=request.request_outputs,
    )


def _input_texts(given: InferInput) -> list[str]:
    if given.datatype != "BYTES":
        raise InputError(
            f"input {given.name} has the datatype {given.datatype[:40]}; it takes BYTES."
        )
    shape, data = list(given.shape), given.data
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]) or shape[0] != len(data):
        raise InputError(
            f"input {given.name} has the shape {str(shape)[:80]} and {len(data)} texts; the "
            "shape is [N] or [N, 1], N the number of texts."
        )
    check_count(len(data))
    return [text_of(value, f"{given.name}[{place}]") for place, value in enumerate(data)]


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
