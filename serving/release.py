"""A release folder: verified against the checksums that its promotion recorded."""

import hashlib
import json
from pathlib import Path

from serving.errors import InputError

RELEASE = "release.json"
UNRELEASED = "unreleased"


def verified_version(folder: Path) -> str:
    """The version of a release folder, after its files proved whole.

    A folder without release.json is a plain Hugging Face folder and has the version "unreleased".
    Raises InputError when a file is absent or its size or SHA-256 is not the recorded one.
    """
    document = folder / RELEASE
    if not document.is_file():
        return UNRELEASED
    release = json.loads(document.read_bytes())
    for entry in release["files"]:
        path = folder / entry["path"]
        if not path.is_file() or path.stat().st_size != entry["size"] or not _same(path, entry):
            raise InputError(
                f"{path} is absent or differs from what {RELEASE} records, so the release is "
                "incomplete or damaged. Fetch the release again."
            )
    return str(release["version"])


def _same(path: Path, entry: dict[str, str]) -> bool:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == entry["sha256"]
