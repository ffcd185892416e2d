"""Immutable folders on S3: files first, manifest last; a folder without one does not exist."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from components.fingerprint import sha256_of
from components.storage import TRANSFERS, client, create_json, errors, read_json, split
from serving.errors import InputError

MANIFEST = "manifest.json"

Manifest = dict[str, Any]


def manifest_of(uri: str, name: str = MANIFEST) -> Manifest | None:
    """The folder's manifest, or None when the folder does not (yet) exist.

    A manifest is `{"files": [{"path", "size", "sha256"}, ...], ...facts of the step}`.
    """
    manifest: Manifest | None = read_json(f"{uri}/{name}")
    return manifest


def existing(uri: str) -> Manifest:
    """The folder's manifest; raises InputError when there is none."""
    manifest = manifest_of(uri)
    if manifest is None:
        raise InputError(
            f"{uri} holds no {MANIFEST}: it does not exist or was never completed. Run the step "
            "that writes it again."
        )
    return manifest


def publish(
    folder: Path, uri: str, facts: dict[str, Any], copied: Sequence[dict[str, Any]] = ()
) -> Manifest:
    """Upload every file of `folder`, then its manifest with `facts`.

    The manifest also lists `copied`, entries of files that `copy` brought there already. Safe to
    repeat and to race: the same fingerprint means the same content, and the manifest is created
    once.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]

    def upload(path: Path, name: str) -> None:
        bucket, key = split(f"{uri}/{name}")
        with errors(f"{uri}/{name}"):
            client().upload_file(str(path), bucket, key)

    _side_by_side(upload, list(zip(paths, names, strict=True)))
    files = [
        {"path": name, "size": path.stat().st_size, "sha256": sha256_of(path)}
        for path, name in zip(paths, names, strict=True)
    ]
    manifest: Manifest = {**facts, "files": [*copied, *files]}
    create_json(f"{uri}/{MANIFEST}", manifest)
    return existing(uri)


def fetch(uri: str, folder: Path, manifest: Manifest | None = None) -> Manifest:
    """Download a folder; sizes and SHA-256 are verified, files that are already there are kept.

    Raises InputError when the folder does not exist or a file differs from its manifest.
    """
    manifest = manifest or existing(uri)

    def download(entry: dict[str, Any]) -> None:
        target = folder / entry["path"]
        if not target.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"the manifest of {uri} names {entry['path']!r}, outside the folder.")
        if target.is_file() and sha256_of(target) == entry["sha256"]:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".partial")
        bucket, key = split(f"{uri}/{entry['path']}")
        digest = hashlib.sha256()
        with errors(f"{uri}/{entry['path']}"):
            body = client().get_object(Bucket=bucket, Key=key)["Body"]
            with partial.open("wb") as file:
                for block in body.iter_chunks(1 << 20):
                    digest.update(block)
                    file.write(block)
        if digest.hexdigest() != entry["sha256"]:
            partial.unlink()
            raise InputError(
                f"{uri}/{entry['path']} does not have the SHA-256 that its manifest records: the "
                "object was changed or damaged. Delete the folder on S3 and run the step again."
            )
        partial.replace(target)

    _side_by_side(download, [(entry,) for entry in manifest["files"]])
    return manifest


def copy(source: str, target: str, manifest: Manifest) -> None:
    """Copy the files of a folder on the server's side; the caller writes the target's manifest."""

    def copy_one(entry: dict[str, Any]) -> None:
        bucket, key = split(f"{target}/{entry['path']}")
        from_bucket, from_key = split(f"{source}/{entry['path']}")
        with errors(f"{source}/{entry['path']}"):
            client().copy({"Bucket": from_bucket, "Key": from_key}, bucket, key)

    _side_by_side(copy_one, [(entry,) for entry in manifest["files"]])


def _side_by_side(work: Callable[..., None], arguments: list[tuple[Any, ...]]) -> None:
    with ThreadPoolExecutor(TRANSFERS) as pool:
        for future in [pool.submit(work, *each) for each in arguments]:
            future.result()
