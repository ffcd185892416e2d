"""Reads the store for the pages: listings are kept for seconds, unchanging objects for good.

It only lists and gets, so credentials that may do no more suffice.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from components import storage

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

LISTING_SECONDS = 3.0
"""How late a new promotion may be seen."""
CACHE_BYTES = 64 * 2**20
AT_ONCE = 16


Item = TypeVar("Item")


@dataclass(frozen=True)
class Entry:
    """An object of a listing."""

    uri: str
    name: str
    """Its key below the prefix that was listed."""
    etag: str
    modified: datetime


class Reader:
    """A store at `address`, `s3://bucket/prefix`; safe to use from many threads.

    `connect` makes the S3 client, again after a failure: a store may come back at another port.
    Whatever is read raises InputError when the store is away or refuses.
    """

    def __init__(self, address: str, connect: Callable[[], "S3Client"]) -> None:
        self.address = address
        self._connect = connect
        self._client: S3Client | None = None
        self._objects = _Recent(CACHE_BYTES)
        self._listings: dict[str, tuple[float, list[Any]]] = {}
        self._listing: dict[str, threading.Lock] = {}
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="store")

    def folders(self, path: str) -> list[str]:
        """Names of the folders directly under `path` (below the address), sorted."""

        def found(bucket: str, prefix: str) -> list[str]:
            names = [
                item["Prefix"]
                for page in self._pages(Bucket=bucket, Prefix=prefix, Delimiter="/")
                for item in page.get("CommonPrefixes", [])
            ]
            return sorted(name.removeprefix(prefix).rstrip("/") for name in names)

        return self._listed(f"{path}/*", path, found)

    def entries(self, path: str) -> list[Entry]:
        """The objects under `path`, oldest first; of those of one second, by name."""

        def found(bucket: str, prefix: str) -> list[Entry]:
            entries = [
                Entry(
                    f"s3://{bucket}/{item['Key']}",
                    item["Key"].removeprefix(prefix),
                    item["ETag"],
                    item["LastModified"].replace(microsecond=0),
                )
                for page in self._pages(Bucket=bucket, Prefix=prefix)
                for item in page.get("Contents", [])
            ]
            return sorted(entries, key=lambda entry: (entry.modified, entry.name))

        return self._listed(path, path, found)

    def contents(self, entries: Iterable[Entry]) -> list[bytes | None]:
        """What the entries hold, side by side; None for one that is gone."""
        return list(self._threads.map(lambda entry: self._kept(entry.uri, entry.etag), entries))

    def unchanging(self, path: str) -> bytes | None:
        """An object that is written once, such as a release.json; None when there is none."""
        return self._kept(f"{self.address}/{path}", "")

    def fresh(self, path: str) -> bytes | None:
        """An object as it is now, or None."""
        return self._get(f"{self.address}/{path}")

    def _kept(self, uri: str, etag: str) -> bytes | None:
        content = self._objects.get((uri, etag))
        if content is None:
            content = self._get(uri)
            if content is not None:
                self._objects.put((uri, etag), content)
        return content

    def _get(self, uri: str) -> bytes | None:
        bucket, key = storage.split(uri)
        with storage.errors(uri):
            try:
                return self._s3().get_object(Bucket=bucket, Key=key)["Body"].read()
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in ("NoSuchKey", "404"):
                    return None
                self._client = None
                raise
            except BotoCoreError:
                self._client = None
                raise

    def _listed(self, key: str, path: str, found: Callable[[str, str], list[Item]]) -> list[Item]:
        """The listing, at most LISTING_SECONDS old; threads that want the same one share it."""
        with self._listing.setdefault(key, threading.Lock()):
            at: float
            known: list[Item]
            at, known = self._listings.get(key, (float("-inf"), []))
            if time.monotonic() - at < LISTING_SECONDS:
                return known
            uri = f"{self.address}/{path}"
            bucket, prefix = storage.split(uri)
            with storage.errors(uri):
                try:
                    known = found(bucket, f"{prefix}/")
                except (BotoCoreError, ClientError):
                    self._client = None
                    raise
            self._listings[key] = (time.monotonic(), known)
            return known

    def _pages(self, **where: str) -> Iterable[Any]:
        return self._s3().get_paginator("list_objects_v2").paginate(**where)  # type: ignore[arg-type]  # its keywords are spread

    def _s3(self) -> "S3Client":
        client = self._client
        if client is None:
            client = self._client = self._connect()
        return client


class _Recent:
    """Contents by key; the longest unused go when all together exceed `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._contents: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str]) -> bytes | None:
        with self._lock:
            if key in self._contents:
                self._contents.move_to_end(key)
            return self._contents.get(key)

    def put(self, key: tuple[str, str], content: bytes) -> None:
        with self._lock:
            self._held += len(content) - len(self._contents.pop(key, b""))
            self._contents[key] = content
            while self._held > self._most:
                self._held -= len(self._contents.popitem(last=False)[1])
