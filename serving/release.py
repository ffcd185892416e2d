"""A release folder: verified against the checksums that its promotion recorded."""

import hashlib
import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, NonNegativeInt, StringConstraints, ValidationError

from serving.errors import InputError
from serving.reference import Reference

RELEASE = "release.json"
UNRELEASED = "unreleased"


class _File(BaseModel):
    path: str
    size: NonNegativeInt
    sha256: str


class Release(BaseModel):
    """What a release says of itself in release.json; the predictor reads no more of it."""

    version: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")]
    """It becomes a header's value."""
    files: list[_File]
    reference: Reference | None = None


def verified_release(folder: Path) -> Release:
    """The release in a folder, after its files proved whole.

    A folder without release.json is a plain Hugging Face folder and has the version "unreleased".
    Raises InputError when release.json cannot be read, or when a file is absent or its size or
    SHA-256 is not the recorded one.
    """
    document = folder / RELEASE
    if not document.is_file():
        return Release(version=UNRELEASED, files=[])
    try:
        release = Release.model_validate(json.loads(document.read_bytes()))
    except (ValidationError, ValueError) as error:
        raise InputError(
            f"{document} is not a release document ({error}). It needs a version and files, each "
            "with path, size and sha256, as the promotion writes it. Fetch the release again."
        ) from error
    for entry in release.files:
        path = folder / entry.path
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"{document} lists {entry.path}, which lies outside the release. Releases hold "
                "their own files only; do not serve this one."
            )
        if not _is_whole(path, entry):
            raise InputError(
                f"{path} is absent or differs from what {RELEASE} records, so the release is "
                "incomplete or damaged. Fetch the release again."
            )
    return release


def _is_whole(path: Path, entry: _File) -> bool:
    if not path.is_file() or path.stat().st_size != entry.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
