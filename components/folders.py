"""Immutable folders on S3: files first, manifest last; a folder without one does not exist."""

import tempfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from components.console import say, step_seconds
from components.downloads import download
from components.fingerprint import sha256_of
from components.storage import client, create_json, errors, list_etags, read_json, split
from components.transfers import PART, side_by_side
from components.uploads import upload
from serving.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = "manifest.json"

Manifest = dict[str, Any]
_File = TypeVar("_File")


def manifest_of(uri: str, name: str = MANIFEST) -> Manifest | None:
    """The folder's manifest, or None when the folder does not (yet) exist.

    A manifest is `{"files": [{"path", "size", "sha256"}, ...], ...facts of the step}`. An entry's
    `object`, where it has one, is the file's key instead of `path` (see uploads.upload).
    """
    manifest: Manifest | None = read_json(f"{uri}/{name}")
    return manifest


def cached(uri: str, step: str, same: str) -> bool:
    """Whether the folder exists; if so `step` says it, and that the `same` things made it."""
    if manifest_of(uri) is None:
        return False
    say(step, f"cached: {uri} ({same})")
    return True


def existing(uri: str) -> Manifest:
    """The folder's manifest; raises InputError when there is none."""
    manifest = manifest_of(uri)
    if manifest is None:
        raise InputError(
            f"{uri} holds no {MANIFEST}: it does not exist or was never completed. Run the step "
            "that writes it again."
        )
    return manifest


def publish(folder: Path, uri: str, facts: dict[str, Any]) -> Manifest:
    """Upload every file of `folder`, then its manifest with `facts`.

    Safe to repeat and to race, although two attempts with one fingerprint differ, as in the seconds
    of a training log: no object is replaced and the manifest is created once, so the folder is
    wholly that of the attempt whose manifest stands, which is returned. A repeated upload sends
    what is not there yet.
    """
    return manifest_of(uri) or seal(uri, facts, publish_files(folder, uri))


def publish_files(folder: Path, uri: str, under: str = "") -> list[dict[str, Any]]:
    """Upload every file of `folder` that is not there yet; returns a manifest's entries.

    `under` goes before each file's path, such as `tokenizer/`.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    stored = list_etags(uri)
    files: list[dict[str, Any]] = []

    def send(path: Path) -> None:
        name = under + path.relative_to(folder).as_posix()
        files.append(upload(path, uri, name, stored))

    small, large = _by_size((path, path.stat().st_size) for path in paths)
    side_by_side(send, [(path,) for path in small])
    for path in large:  # its parts go side by side
        send(path)
    return files


def seal(uri: str, facts: dict[str, Any], files: Iterable[dict[str, Any]]) -> Manifest:
    """Write the manifest of a folder whose files are there: now it exists for every reader.

    `files` are a manifest's entries. `made` tells when, and how long the step had taken. Returns
    the manifest that stands: another attempt's where that was first.
    """
    made = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": step_seconds()}
    manifest: Manifest = {**facts, "made": made, "files": sorted(files, key=itemgetter("path"))}
    create_json(f"{uri}/{MANIFEST}", manifest)
    return existing(uri)


def fetch(
    uri: str,
    folder: Path,
    manifest: Manifest | None = None,
    wanted: Callable[[str], bool] = lambda path: True,
) -> Manifest:
    """Download a folder's wanted files; returns its manifest, which names the others too.

    Sizes and SHA-256 are verified, files that are already there are kept. Raises InputError when
    the folder does not exist or a file differs from its manifest.
    """
    manifest = manifest or existing(uri)
    entries = [entry for entry in manifest["files"] if wanted(entry["path"])]
    home = folder.resolve()

    def receive(entry: dict[str, Any]) -> None:
        target = folder / entry["path"]
        if not target.resolve().is_relative_to(home):
            raise InputError(f"the manifest of {uri} names {entry['path']!r}, outside the folder.")
        if not (target.is_file() and sha256_of(target) == entry["sha256"]):
            download(_address(uri, entry), target, size=entry["size"], sha256=entry["sha256"])

    small, large = _by_size((entry, entry["size"]) for entry in entries)
    side_by_side(receive, [(entry,) for entry in small])
    for entry in large:
        receive(entry)
    return manifest


def read_table(uri: str, path: str, columns: list[str] | None = None) -> "pd.DataFrame":
    """One Parquet file of a folder, verified as by `fetch`; of its columns all, or these."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as scratch:
        fetch(uri, Path(scratch), wanted=lambda each: each == path)
        return pd.read_parquet(Path(scratch) / path, columns=columns)


def address(uri: str, path: str) -> str:
    """Where the content of one file of a folder lies; `path` itself where it has no such file."""
    files = {entry["path"]: entry for entry in existing(uri)["files"]}
    return _address(uri, files.get(path, {"path": path}))


def copy(source: str, target: str, manifest: Manifest) -> list[dict[str, Any]]:
    """Copy the files of a folder on the server's side, each to its path in the target.

    Returns the entries of the target's manifest, which the caller writes.
    """

    def copy_one(entry: dict[str, Any]) -> None:
        bucket, key = split(f"{target}/{entry['path']}")
        from_bucket, from_key = split(_address(source, entry))
        with errors(_address(source, entry)):
            client().copy({"Bucket": from_bucket, "Key": from_key}, bucket, key)

    side_by_side(copy_one, [(entry,) for entry in manifest["files"]])
    kept = ("path", "size", "sha256")
    return [{key: entry[key] for key in kept} for entry in manifest["files"]]


def _address(uri: str, entry: dict[str, Any]) -> str:
    """Where the content of a folder's file lies."""
    return f"{uri}/{entry.get('object', entry['path'])}"


def _by_size(files: Iterable[tuple[_File, int]]) -> tuple[list[_File], list[_File]]:
    """Those that move in one request, and those that move in parts."""
    known = list(files)
    small = [file for file, size in known if size <= PART]
    return small, [file for file, size in known if size > PART]
