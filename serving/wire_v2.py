"""V2 requests as they come: JSON, JSON with binary tensors, and gRPC.

Formats: https://github.com/kserve/open-inference-protocol, and Triton's binary tensor data
extension. KServe's own parsers answer 500 to most malformed input, so requests are read here and
handed on as KServe's InferRequest, its inputs' data a flat list of str or bytes.
"""

import re
import struct
from typing import Any

from kserve import InferInput, InferRequest
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest
from kserve.protocol.infer_type import RequestedOutput, to_http_parameters

from serving.errors import InputError
from serving.protocol import flag_of, integer, kind, parse_json
from serving.protocol_v2 import INPUTS, MORE_OUTPUTS, OUTPUTS


def request_from_rest(
    body: bytes, json_length: str | None, name: str, version: str | None = None
) -> InferRequest:
    """Read a REST body; `json_length` is the header Inference-Header-Content-Length, if given.

    `name` and `version` are those of the path. Raises InputError when the body breaks the format.
    """
    length = len(body)
    if json_length is not None:
        if not re.fullmatch("[0-9]{1,12}", json_length) or int(json_length) > length:
            raise InputError(
                f"Inference-Header-Content-Length is {json_length[:40]!r}; it is the number of "
                f"bytes of JSON before the binary data, {length} at most for this body."
            )
        length = int(json_length)
    document = _member(parse_json(body[:length]), "the body", dict)
    given_inputs = _member(document.get("inputs"), "inputs", list)
    _check_few(len(given_inputs), "inputs", INPUTS)
    inputs, start = [], length
    for place, each in enumerate(given_inputs):
        where = f"inputs[{place}]"
        given = _member(each, where, dict)
        parameters = _optional(given, "parameters", f"{where}.", dict)
        data = given.get("data")
        if data is None:
            size, left = parameters.get("binary_data_size"), len(body) - start
            if type(size) is not int or not 0 <= size <= left:
                raise InputError(
                    f"{where} has no data, and {left} bytes of binary data are left for "
                    "it; give data as a list of texts, or parameters.binary_data_size."
                )
            data = _texts_of(body[start : start + size], where)
            start += size
        inputs.append(
            InferInput(
                name=_member(given.get("name"), f"{where}.name", str),
                shape=_shape(given.get("shape"), where),
                datatype=_member(given.get("datatype"), f"{where}.datatype", str),
                data=_flat(_member(data, f"{where}.data", list)),
            )
        )
    if start < len(body):
        raise InputError(
            f"{len(body) - start} bytes of binary data belong to no input; leave them out."
        )
    parameters = _optional(document, "parameters", "", dict)
    binary = flag_of(parameters, "binary_data_output")
    given_outputs = _optional(document, "outputs", "", list)
    _check_few(len(given_outputs), "outputs", (*OUTPUTS, *MORE_OUTPUTS))
    outputs = []
    for place, each in enumerate(given_outputs):
        where = f"outputs[{place}]"
        asked = _member(each, where, dict)
        # KServe takes the request's own setting only where no outputs are named.
        form = {"binary_data": binary, **_optional(asked, "parameters", f"{where}.", dict)}
        flag_of(form, "binary_data")
        outputs.append(RequestedOutput(_member(asked.get("name"), f"{where}.name", str), form))
    return InferRequest(
        model_name=name,
        infer_inputs=inputs,
        request_id=_optional(document, "id", "", str),
        parameters=parameters,
        request_outputs=outputs or None,
        model_version=version,
    )


def request_from_grpc(message: ModelInferRequest) -> InferRequest:
    """Read a gRPC request, its texts in `contents.bytes_contents` or in `raw_input_contents`.

    Raises InputError when the message breaks the format.
    """
    _check_few(len(message.inputs), "inputs", INPUTS)
    _check_few(len(message.outputs), "outputs", (*OUTPUTS, *MORE_OUTPUTS))
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise InputError(
            f"{len(message.inputs)} inputs and {len(raw)} raw_input_contents were sent; send one "
            "for each input, or none and give contents."
        )
    inputs = []
    for place, given in enumerate(message.inputs):
        where = f"inputs[{place}]"
        if raw and given.HasField("contents"):
            raise InputError(f"{where} has contents beside raw_input_contents; send one of them.")
        is_raw = bool(raw) and given.datatype == "BYTES"
        data = _texts_of(raw[place], where) if is_raw else list(given.contents.bytes_contents)
        inputs.append(InferInput(given.name, list(given.shape), given.datatype, data))
    return InferRequest(
        model_name=message.model_name,
        model_version=message.model_version,
        infer_inputs=inputs,
        raw_inputs=raw,
        request_id=message.id,
        from_grpc=True,
        parameters=to_http_parameters(message.parameters),
        request_outputs=[RequestedOutput(output.name) for output in message.outputs] or None,
    )


def _check_few(count: int, what: str, names: tuple[str, ...]) -> None:
    """Refuse before they are read more tensors than there are names."""
    if count > len(names):
        raise InputError(
            f"the request holds {count} {what}; send {len(names)} at most, each once: "
            f"{', '.join(names)}."
        )


def _texts_of(raw: bytes, where: str) -> list[bytes]:
    """Each text is preceded by its length, 4 bytes, little-endian."""
    texts: list[bytes] = []
    start = 0
    while start < len(raw):
        end = start + 4
        if end <= len(raw):
            end += struct.unpack_from("<I", raw, start)[0]
        if end > len(raw):
            raise InputError(
                f"{where}: the binary data ends inside text {len(texts)}; each text is preceded "
                "by its length in bytes as a 4-byte little-endian integer."
            )
        texts.append(raw[start + 4 : end])
        start = end
    return texts


def _flat(data: list[Any]) -> list[Any]:
    """[["a"], ["b"]] of the shape [2, 1] as ["a", "b"]; the protocol allows both."""
    nested = all(isinstance(each, list) and len(each) == 1 for each in data)
    return [each[0] for each in data] if nested else data


def _shape(value: Any, where: str) -> list[int]:
    sizes = [integer(size) for size in _member(value, f"{where}.shape", list)]
    shape = [size for size in sizes if size is not None]
    if len(shape) < len(sizes):
        raise InputError(f"{where}.shape holds something else than integers; send [N] or [N, 1].")
    return shape


def _optional(given: dict[str, Any], name: str, where: str, expected: type) -> Any:
    """The member `name`, or an empty one where it is absent or null."""
    value = given.get(name)
    return expected() if value is None else _member(value, f"{where}{name}", expected)


def _member(value: Any, where: str, expected: type) -> Any:
    if not isinstance(value, expected):
        raise InputError(
            f"{where} is {kind(value)} and must be {kind(expected())}; a request looks like "
            '{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a text"]}]}.'
        )
    return value
