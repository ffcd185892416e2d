"""Names for results: a hash of everything that decides a step's output, so equal means reusable."""

import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def fingerprint(decides: dict[str, Any], *, code: Iterable[str], libraries: Iterable[str]) -> str:
    """20 hex digits over `decides` (JSON values), our source `code` and library versions.

    `code` names packages or modules of this project (`"serving.encoding"`): an edit there makes a
    new fingerprint. `libraries` names distributions whose version can change the result. Whole
    numbers compare equal as int and float: KFP turns ints in structured parameters into floats.
    """
    document = {
        "decides": _canonical(decides),
        "code": {name: _source_digest(name) for name in sorted(code)},
        "libraries": {name: importlib.metadata.version(name) for name in sorted(libraries)},
    }
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return value


def _source_digest(name: str) -> str:
    spec = importlib.util.find_spec(name)
    if spec is None or (spec.origin is None and not spec.submodule_search_locations):
        raise ModuleNotFoundError(name)
    folders = list(spec.submodule_search_locations or [])
    files = [path for folder in folders for path in Path(folder).rglob("*.py")]
    if spec.origin is not None and not folders:
        files.append(Path(spec.origin))
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda file: file.name):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
