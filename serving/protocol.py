"""What is asked and answered, and its V1 form: parsing and formatting, no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from serving.classifier import Floats
from serving.errors import InputError

MAX_TEXTS = 10_000
"""Texts in one request."""
MAX_CHARACTERS = 1_000_000
"""Characters of one text. All are tokenized before the text is cut, while others wait."""


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

    `body` is JSON as bytes, or what was parsed from it. Raises InputError that names what was
    given, the rule and the remedy; it never repeats a text.
    """
    if isinstance(body, bytes):
        body = parse_json(body)
    if not isinstance(body, dict) or "instances" not in body:
        raise InputError(
            f"the body is {kind(body)} without instances; send "
            '{"instances": ["a text", "another"]}.'
        )
    instances = body["instances"]
    if not isinstance(instances, list):
        raise InputError(f"instances is {kind(instances)}; send a list of texts.")
    check_count(len(instances))
    texts, pairs = [], []
    for place, instance in enumerate(instances):
        text, pair = instance, None
        if isinstance(instance, dict):
            if "text" not in instance or set(instance) - {"text", "text_pair"}:
                raise InputError(
                    f"instances[{place}] has {_names(instance)}; an object has the key text, and "
                    "text_pair when the model takes pairs, and no other."
                )
            text, pair = instance["text"], instance.get("text_pair")
        texts.append(text_of(text, f"instances[{place}]"))
        if pair is not None:
            pairs.append(text_of(pair, f"instances[{place}].text_pair"))
    if pairs and len(pairs) != len(texts):
        raise InputError(
            f"{len(pairs)} of {len(texts)} instances have a text_pair; give it with each or none."
        )
    top_k, raw_logits = _parameters(body.get("parameters"))
    return Question(texts, pairs or None, top_k, raw_logits)


def v1_answer(answer: Answer, question: Question, name: str) -> dict[str, Any]:
    """A V1 body: for each text its best label, and the labels with their scores, best first."""
    predictions = []
    labels, places = answer.labels, range(len(answer.labels))
    # Lists: for a few labels numpy's calls would take longer than all the rest.
    for row, scores in enumerate(answer.scores.tolist()):
        order = sorted(places, key=scores.__getitem__, reverse=True)[: question.top_k]
        prediction: dict[str, Any] = {
            "label": labels[order[0]],
            "score": scores[order[0]],
            "scores": [{"label": labels[i], "score": scores[i]} for i in order],
            "truncated": bool(answer.truncated[row]),
        }
        if question.raw_logits:
            logits = answer.logits[row].tolist()
            prediction["logits"] = [{"label": labels[i], "logit": logits[i]} for i in order]
        predictions.append(prediction)
    return {"predictions": predictions, "model_name": name, "model_version": answer.version}


def parse_json(body: bytes) -> Any:
    """The JSON document in `body`; raises InputError when it is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InputError(
            f"the body ({len(body)} bytes) is not JSON: {error}. Send one JSON object in UTF-8."
        ) from error


def text_of(value: Any, place: str) -> str:
    """`value` as a text; raises InputError that names its `place` when it is none."""
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{place} is not UTF-8 ({error.reason}); send UTF-8.") from error
    if not isinstance(value, str):
        raise InputError(f"{place} is {kind(value)}; it must be a text.")
    if len(value) > MAX_CHARACTERS:
        raise InputError(
            f"{place} has {len(value)} characters; {MAX_CHARACTERS} is the most a text may have, "
            "and a classifier reads the first few thousand. Send an excerpt."
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{place} holds a lone surrogate; send valid Unicode.") from error
    return value


def top_k_of(parameters: dict[str, Any]) -> int | None:
    """How many of the best labels are asked for, None for all; raises InputError."""
    given = parameters.get("top_k")
    if given is None:
        return None
    top_k = integer(given)
    if top_k is None or top_k < 1:
        given_number = given if type(given) in (int, float) else kind(given)
        raise InputError(f"parameters.top_k is {given_number}; it is an integer from 1 on.")
    return top_k


def flag_of(parameters: dict[str, Any], name: str) -> bool:
    """The parameter `name`, false where it is absent; raises InputError."""
    value = parameters.get(name, False)
    if type(value) is not bool:
        raise InputError(f"the parameter {name} is {kind(value)}; it is true or false.")
    return value


def integer(value: Any) -> int | None:
    """`value` as JSON Schema's integer, which 2.0 is as well; None when it is none."""
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def check_count(count: int) -> None:
    """Raises InputError unless a request may hold `count` texts."""
    if not 1 <= count <= MAX_TEXTS:
        raise InputError(f"the request holds {count} texts; send 1 to {MAX_TEXTS}.")


def kind(value: Any) -> str:
    """What sort of JSON value it is, for an error message that does not repeat it."""
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        int: "a number",
        float: "a number",
        bool: "a boolean",
        type(None): "null",
    }
    return names.get(type(value), f"a value of type {type(value).__name__}")


def _parameters(given: Any) -> tuple[int | None, bool]:
    parameters = {} if given is None else given
    if not isinstance(parameters, dict):
        raise InputError(f"parameters is {kind(parameters)}; send an object.")
    if set(parameters) - {"top_k", "raw_logits"}:
        raise InputError(f"parameters has {_names(parameters)}; it takes top_k and raw_logits.")
    top_k, raw_logits = top_k_of(parameters), parameters.get("raw_logits", False)
    if type(raw_logits) is not bool:
        raise InputError(f"parameters.raw_logits is {kind(raw_logits)}; it is true or false.")
    return top_k, raw_logits


def _names(given: dict[str, Any]) -> str:
    if not given:
        return "no key"
    shown = ", ".join(repr(key[:40]) for key in sorted(given)[:5])
    return f"the keys {shown}{' and more' if len(given) > 5 else ''}"
