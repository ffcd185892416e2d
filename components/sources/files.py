"""One file from a path, an address, S3 or a distribution: its identity, and the file itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from components import storage
from components.console import Progress
from components.fingerprint import sha256_of
from components.sources.settings import PyPISource
from serving.errors import InputError

Source = str | PyPISource
"""A local path, an `https://` or `s3://` address, or a distribution."""


def identity(source: Source, sha256: str | None = None) -> dict[str, Any]:
    """What decides the file's content, found without moving it.

    A pinned SHA-256; else the local file's own; else the server's ETag, size and date.
    """
    if isinstance(source, PyPISource):
        return source.model_dump()
    if sha256 is not None:
        return {"sha256": sha256}
    if source.startswith("s3://"):
        bucket, key = storage.split(source)
        with storage.errors(source):
            head = storage.client().head_object(Bucket=bucket, Key=key)
        return {"address": source, "etag": head["ETag"], "size": head["ContentLength"]}
    if _is_url(source):
        with _request("HEAD", source) as answer:
            names = ("etag", "last-modified", "content-length")
            return {"address": source, **{n: answer.headers.get(n, "") for n in names}}
    return {"sha256": sha256_of(_local(source))}


def fetch(source: Source, folder: Path, step: str, sha256: str | None = None) -> Path:
    """The file on this machine; a remote one is streamed to `folder` and its SHA-256 verified."""
    if isinstance(source, PyPISource):
        from components.sources.pypi import download

        return download(source, folder, step)
    if source.startswith("s3://"):
        path = _fetch_s3(source, folder)
    elif _is_url(source):
        path = _fetch_url(source, folder, step)
    else:
        path = _local(source)
    if sha256 is not None and (found := sha256_of(path)) != sha256:
        raise InputError(
            f"{source} has the SHA-256 {found}, and {sha256} was asked for: the file changed or is "
            "damaged. If the change is meant, put the new hash into the config."
        )
    return path


def name_of(source: Source) -> str:
    """The file name, by which findings name their rows."""
    if isinstance(source, PyPISource):
        return source.distribution
    return PurePosixPath(unquote(urlsplit(source).path)).name or source


def _is_url(source: str) -> bool:
    return source.startswith(("https://", "http://"))


def _local(source: str) -> Path:
    path = Path(source).expanduser()
    if not path.is_file():
        raise InputError(
            f"there is no file {source} (looked in {Path.cwd()}). Paths are relative to where "
            "finegate is started; on a cluster use https:// or s3://."
        )
    return path


def _fetch_s3(source: str, folder: Path) -> Path:
    bucket, key = storage.split(source)
    target = folder / name_of(source)
    with storage.errors(source):
        storage.client().download_file(bucket, key, str(target))
    return target


def _fetch_url(source: str, folder: Path, step: str) -> Path:
    target = folder / name_of(source)
    with _request("GET", source) as answer, target.open("wb") as file:
        total = int(answer.headers.get("content-length", 0))
        progress = Progress(step, f"downloading {target.name}, KiB", total >> 10)
        received = 0
        for block in answer.iter_bytes(1 << 18):
            file.write(block)
            received += len(block)
            if total:
                progress.reach(received >> 10)
    encoded = "content-encoding" in answer.headers
    if total and not encoded and received != total:
        raise InputError(f"{source} broke off after {received} of {total} bytes. Run again.")
    return target


@contextmanager
def _request(method: str, url: str) -> Iterator[httpx.Response]:
    try:
        with (
            httpx.Client(follow_redirects=True, timeout=60) as client,
            client.stream(method, url) as answer,
        ):
            if answer.status_code >= 400:
                raise InputError(
                    f"{url} answers {answer.status_code} {answer.reason_phrase}. Check the "
                    "address, and whether it needs a login."
                )
            yield answer
    except httpx.HTTPError as error:
        raise InputError(
            f"{url} cannot be fetched ({type(error).__name__}: {error}). Check the address and "
            "the network, or download the file and give its path."
        ) from error
