"""One file from a path, an address, S3 or a distribution: its identity, and the file itself."""

import hashlib
import json
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from components import storage
from components.downloads import download as download_object
from components.fingerprint import sha256_of
from components.sources.settings import PyPISource
from components.sources.transfer import Transfer
from serving.errors import InputError

Place = str | PyPISource
"""A local path, an `https://` or `s3://` address, or a distribution."""


def matching(place: str) -> list[str]:
    """The places that a pattern stands for, sorted; any other place stands for itself.

    A pattern has `*` in its last part, the file name. Raises InputError when nothing matches.
    Addresses of the web have no patterns.
    """
    if "*" not in place or _is_web(place):
        return [place]
    if place.startswith("s3://"):
        folder, _, pattern = place.rpartition("/")
        keys = [key for key in storage.list_keys(folder) if "/" not in key]
        found = [f"{folder}/{key}" for key in keys if fnmatch(key, pattern)]
    else:
        folder, _, pattern = place.rpartition("/")
        paths = Path(folder or ("/" if place.startswith("/") else ".")).expanduser().glob(pattern)
        found = sorted(str(path) for path in paths if path.is_file())
    if not found:
        raise InputError(f"no file matches {place} (looked in {Path.cwd()}). Check the pattern.")
    return found


def is_folder(place: str) -> bool:
    """Whether files lie in the place: a local folder, or an address that ends in `/`."""
    if place.startswith("s3://") or _is_web(place):
        return place.endswith("/")
    return Path(place).expanduser().is_dir()


class SourceFile:
    """One file, moved to `folder` only when its content is needed, and then once."""

    def __init__(self, place: Place, folder: Path, step: str, sha256: str | None = None) -> None:
        self._place, self._folder, self._step = place, folder, step
        self._sha256 = sha256

    @property
    def name(self) -> str:
        """The file name, by which findings name their rows."""
        if isinstance(self._place, PyPISource):
            return self._place.distribution
        path = unquote(urlsplit(self._place).path) if _is_web(self._place) else self._place
        return PurePosixPath(path).name or "download"

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides the content: the pinned or the local SHA-256, or the server's version.

        The file is moved for it only where the server tells no version.
        """
        place = self._place
        if isinstance(place, PyPISource):
            return place.model_dump()
        if self._sha256 is not None:
            return {"sha256": self._sha256}
        if self._version is not None:
            return self._version
        return {"sha256": sha256_of(self.path)}

    @cached_property
    def _version(self) -> dict[str, Any] | None:
        """What the server says of the content without sending it; None when that decides nothing
        or there is no server."""
        place = self._place
        if isinstance(place, PyPISource):
            return None
        if place.startswith("s3://"):
            bucket, key = storage.split(place)
            with storage.errors(place):
                head = storage.client().head_object(Bucket=bucket, Key=key)
            return {"address": place, "etag": head["ETag"], "size": head["ContentLength"]}
        if _is_web(place):
            from components.sources.web import version

            told = version(place)
            return None if told is None else dict(told)
        return None

    @cached_property
    def path(self) -> Path:
        """The file on this machine; raises InputError unless it has the pinned SHA-256."""
        path = self._moved()
        if self._sha256 is not None and (found := sha256_of(path)) != self._sha256:
            raise InputError(
                f"{self.name} has the SHA-256 {found}, and {self._sha256} was asked for: the file "
                "changed or is damaged. If the change is meant, put the new hash into the config."
            )
        return path

    def _moved(self) -> Path:
        place = self._place
        if isinstance(place, PyPISource):
            from components.sources.pypi import download as download_distribution

            return download_distribution(place, self._folder, self._step)
        if not (_is_web(place) or place.startswith("s3://")):
            return _local(place)
        # Names may be alike, and what a killed try left is of use only for the same version.
        about = json.dumps([place, self._version])
        apart = hashlib.sha256(about.encode()).hexdigest()[:16]
        target = self._folder / apart / self.name
        if target.is_file() and self._version is not None:
            return target
        target.parent.mkdir(exist_ok=True)
        if _is_web(place):
            from components.sources.web import download

            download(place, target, self._step)
        else:
            assert self._version is not None  # every object has an ETag
            size, etag = self._version["size"], self._version["etag"]
            transfer = Transfer(self._step, self.name, size)
            download_object(place, target, size=size, etag=etag, progress=transfer.update)
        return target


def _is_web(place: str) -> bool:
    return place.startswith(("https://", "http://"))


def _local(place: str) -> Path:
    path = Path(place).expanduser()
    if path.is_dir():
        raise InputError(
            f"{place} is a folder. Name its files with dataset.member or members, or with a "
            "pattern such as folder/*.csv."
        )
    if not path.is_file():
        raise InputError(
            f"there is no file {place} (looked in {Path.cwd()}). Paths are relative to where "
            "finegate is started; on a cluster use https:// or s3://."
        )
    return path
