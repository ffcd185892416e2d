"""YAML that people write: read, overridden and checked, with errors that name key and remedy."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from serving.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


def read(path: Path, examples: str) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises InputError for a file that is absent (`examples` says where some are), no YAML, or no
    mapping.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}. {examples}")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {error}. Mend it there.") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} holds no mapping at its top, such as name: value.")
    return document


def override(document: dict[str, Any], given: str) -> None:
    """Set what `key.path=value` says (the value is YAML); raises InputError where it cannot be."""
    key, separator, value = given.partition("=")
    if not separator or not key:
        raise InputError(f"--set {given!r} is not key=value, as training.epochs=2 is.")
    *parents, last = key.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
        if not isinstance(document, dict):
            raise InputError(f"--set {given!r}: {parent} is no mapping in the config.")
    try:
        document[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--set {given!r}: the value is not YAML ({error}).") from error


def checked(kind: type[Model], document: Any, place: str) -> Model:
    """The document as its model; raises InputError that names `place` and every key to mend."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise InputError(f"{place}: " + "; ".join(_explain(error, kind))) from error


def _explain(error: ValidationError, kind: type[BaseModel]) -> list[str]:
    sentences = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = _known_keys(kind, problem["loc"][:-1])
            near = get_close_matches(str(problem["loc"][-1]), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}."
            sentences.append(f"unknown key {place}; {hint}")
        elif problem["type"] == "missing":
            sentences.append(f"{place} is missing; add it.")
        else:
            given = "" if isinstance(problem["input"], dict) else f" (given: {problem['input']!r})"
            sentences.append(f"{place}: {problem['msg']}{given}.")
    return sentences


def _known_keys(kind: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Keys that the section at `place` takes."""
    section: Any = kind
    for part in place:
        if isinstance(part, int):  # an item of the list whose type is the section already
            continue
        field = getattr(section, "model_fields", {}).get(part)
        candidates = [] if field is None else [field.annotation, *_arguments(field.annotation)]
        section = next(
            (c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None
        )
    return sorted(getattr(section, "model_fields", {}))


def _arguments(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", ())
