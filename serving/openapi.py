"""The OpenAPI 3.1 page of one model: what each route takes and answers, and every error."""

from typing import Any

from serving.protocol import MAX_CHARACTERS, MAX_TEXTS
from serving.protocol_v2 import INPUTS, MORE_OUTPUTS, OUTPUTS

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "maxLength": MAX_CHARACTERS}
COUNT: Schema = {"type": "integer", "minimum": 1}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
NULL: Schema = {"type": "null"}


def document(name: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """The page of the model `name`, whose V2 model metadata is `metadata`."""
    served = metadata["versions"][0]
    label: Schema = {"enum": metadata["parameters"]["labels"]}
    schemas = {
        **_v1_schemas(label),
        **_v2_schemas(),
        "Error": _object(error={"type": "string", "minLength": 1}),
        "ModelMetadata": _object(
            name={"const": name},
            versions=_list({"type": "string"}),
            platform={"type": "string"},
            inputs=_list({"type": "object"}),
            outputs=_list({"type": "object"}),
            parameters={"type": "object"},
        ),
    }
    v1, v2 = "/v1/models", "/v2/models/{model_name}"
    version = f"{v2}/versions/{{model_version}}"
    ready = _object(ready=BOOLEAN)
    model_ready = _object(name={"const": name}, ready=BOOLEAN)
    models = _object(models=_list({"const": name}))
    predict, infer = _asked("Predict", 400, 408, 413, 415), _inferred()
    paths: dict[str, dict[str, Any]] = {
        f"{v1}/{{model_name}}:predict": {"post": predict},
        f"{v2}/infer": {"post": infer},
        f"{v2}/ready": {"get": _answered("Readiness of the model", model_ready, 503)},
        "/v2/health/live": {"get": _answered("Liveness", _object(live=BOOLEAN), 503)},
        "/v2/health/ready": {"get": _answered("Readiness", ready, 503)},
        "/metrics": {"get": _metrics()},
        "/": {"get": _answered("Liveness, in the words of V1", _object(status={"const": "alive"}))},
        "/openapi.json": {"get": _answered("This page", {"type": "object"})},
        v1: {"get": _answered("Models", models)},
        f"{v1}/{{model_name}}": {"get": _answered("Readiness of the model", model_ready, 503)},
        "/v2": {"get": _answered("Name, version and extensions", _server())},
        "/v2/models": {"get": _answered("Models", models)},
        v2: {"get": _answered("Inputs, outputs, labels, version", _ref("ModelMetadata"))},
        version: {"get": _answered("Inputs, outputs, labels", _ref("ModelMetadata"))},
        f"{version}/ready": {"get": _answered("Readiness of the version", model_ready, 503)},
        f"{version}/infer": {"post": infer},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"finegate: {name}",
            "version": served,
            "description": "Texts in, label probabilities out: KServe's V1 protocol, and the "
            "Open Inference Protocol (V2), which is served over gRPC as well.",
        },
        "paths": {path: _with_names(path, item, name, served) for path, item in paths.items()},
        "components": {"schemas": schemas},
    }


def _v1_schemas(label: Schema) -> dict[str, Schema]:
    alone = _object(text=TEXT, text_pair_=NULL)
    pair = _object(text=TEXT, text_pair=TEXT)
    return {
        "Predict": {
            "type": "object",
            "properties": {
                "instances": {  # all have a text_pair, or none has
                    "anyOf": [
                        _list({"anyOf": [TEXT, alone]}, 1, MAX_TEXTS),
                        _list(pair, 1, MAX_TEXTS),
                    ]
                },
                "parameters": _or_null(_object(top_k_=_or_null(COUNT), raw_logits_=BOOLEAN)),
            },
            "required": ["instances"],
            "example": {"instances": ["a text", "another"], "parameters": {"top_k": 2}},
        },
        "PredictAnswer": _object(
            predictions=_list(
                _object(
                    label=label,
                    score=NUMBER,
                    scores=_list(_object(label=label, score=NUMBER), 1),
                    truncated=BOOLEAN,
                    logits_=_list(_object(label=label, logit=NUMBER), 1),
                ),
                1,
            ),
            model_name={"type": "string"},
            model_version={"type": "string"},
        ),
    }


def _v2_schemas() -> dict[str, Schema]:
    shape = _list({"type": "integer", "minimum": 1}, 1, 2)
    return {
        "Infer": {
            "type": "object",
            "properties": {
                "id": {"type": ["string", "null"]},
                "inputs": _list(
                    _more(
                        name={"enum": list(INPUTS)},
                        shape={**shape, "description": "[N] or [N, 1], N texts in data."},
                        datatype={"const": "BYTES"},
                        data=_list({"anyOf": [TEXT, _list(TEXT, 1, 1)]}, 1, MAX_TEXTS),
                        parameters_=_or_null({"type": "object"}),
                    ),
                    1,
                    len(INPUTS),
                ),
                "outputs": _or_null(
                    _list(
                        _more(
                            name={"enum": [*OUTPUTS, *MORE_OUTPUTS]},
                            parameters_=_or_null(_more(binary_data_=BOOLEAN)),
                        )
                    )
                ),
                "parameters": _or_null(
                    _more(top_k_=_or_null(COUNT), raw_logits_=BOOLEAN, binary_data_output_=BOOLEAN)
                ),
            },
            "required": ["inputs"],
            "example": {
                "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a text"]}]
            },
        },
        "InferAnswer": _object(
            id_={"type": "string"},
            model_name={"type": "string"},
            model_version={"type": "string"},
            parameters=_object(labels={"type": "string", "contentMediaType": "application/json"}),
            outputs=_list(
                _object(
                    name={"enum": [*OUTPUTS, *MORE_OUTPUTS]},
                    shape=shape,
                    datatype={"enum": ["BYTES", "FP32", "BOOL"]},
                    data_=_list({"type": ["string", "number", "boolean"]}, 1),
                    parameters_={"type": "object"},
                ),
                1,
            ),
        ),
    }


def _object(**members: Schema) -> Schema:
    """An object of just these members; one whose name ends in `_` may be absent."""
    return {
        "type": "object",
        "properties": {name.rstrip("_"): schema for name, schema in members.items()},
        "required": [name for name in members if not name.endswith("_")],
        "additionalProperties": False,
    }


def _more(**members: Schema) -> Schema:
    """An object of at least these members."""
    return {**_object(**members), "additionalProperties": True}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, NULL]}


def _list(items: Schema, least: int = 0, most: int | None = None) -> Schema:
    bound = {} if most is None else {"maxItems": most}
    return {"type": "array", "items": items, "minItems": least, **bound}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _server() -> Schema:
    text = {"type": "string"}
    return _object(name=text, version=text, extensions=_list(text))


ERRORS = {
    400: "The request breaks a rule; the error names it.",
    404: "Another model or version than the one served here.",
    405: "A method that this path does not take.",
    408: "The body did not come in time.",
    413: "The body, or what it decompresses to, is too large.",
    415: "A Content-Encoding other than gzip and deflate.",
    500: "A fault of the server; its log says more.",
    503: "Not ready, or too much waits: the request was not accepted and can be sent again.",
}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _answered(summary: str, schema: Schema, *errors: int) -> dict[str, Any]:
    """A GET: `schema` at 200, and also at 503 where health is what was asked."""
    responses: dict[str, Any] = {"200": {"description": "Answered", "content": _json(schema)}}
    for status in errors:
        responses[str(status)] = {"description": ERRORS[status], "content": _json(schema)}
    return {"summary": summary, "responses": responses | _errors(405, 500)}


def _errors(*statuses: int) -> dict[str, Any]:
    return {
        str(status): {"description": ERRORS[status], "content": _json(_ref("Error"))}
        for status in statuses
    }


def _asked(name: str, *errors: int) -> dict[str, Any]:
    """A POST of the schema `name`, answered with `<name>Answer`."""
    version = {"x-model-version": {"schema": {"type": "string"}, "description": "What answered"}}
    retry = {"retry-after": {"schema": COUNT, "description": "Seconds"}}
    answer = {
        "description": "Answered",
        "headers": version,
        "content": _json(_ref(f"{name}Answer")),
    }
    responses = {"200": answer, **_errors(*errors, 405, 500, 503)}
    responses["503"]["headers"] = retry
    return {
        "summary": "Classify texts",
        "requestBody": {"required": True, "content": _json(_ref(name))},
        "responses": responses,
    }


def _inferred() -> dict[str, Any]:
    """V2's infer: with binary tensors, what precedes them is JSON of the length in a header."""
    asked = _asked("Infer", 400, 408, 413, 415)
    length = {"schema": {"type": "integer", "minimum": 0}, "description": "Bytes of JSON"}
    name = "inference-header-content-length"
    asked["parameters"] = [{"name": name, "in": "header", "required": False, **length}]
    asked["responses"]["200"]["content"]["application/octet-stream"] = {}
    asked["responses"]["200"]["headers"][name] = length
    return asked


def _metrics() -> dict[str, Any]:
    formats: dict[str, Any] = {"text/plain": {}, "application/openmetrics-text": {}}
    described = {"description": "Prometheus' text format, or OpenMetrics", "content": formats}
    return {"summary": "Metrics", "responses": {"200": described, **_errors(400, 405, 500)}}


def _with_names(path: str, item: dict[str, Any], name: str, version: str) -> dict[str, Any]:
    """The path's parameters, and 404 where it has some."""
    names = {"model_name": name, "model_version": version}
    parameters = [
        {"name": each, "in": "path", "required": True, "schema": {"type": "string", "const": value}}
        for each, value in names.items()
        if f"{{{each}}}" in path
    ]
    if not parameters:
        return item
    named = {
        method: {**operation, "responses": operation["responses"] | _errors(404)}
        for method, operation in item.items()
    }
    return {"parameters": parameters, **named}
