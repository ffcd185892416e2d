"""Large and small files to and from S3: in parallel parts, resumed where they stopped, verified.

boto3's own transfers start again from nothing after a kill. Here a part that arrived stays: parts
of an upload on the server (ListParts), parts of a download in the file, with a record beside it.
Memory is bounded by parts in flight, whatever the size of the file.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from components.storage import TRANSFERS, client, errors, split
from serving.errors import InputError

PART = 8 << 20
"""Bytes of a part; a file up to this size moves in one request."""
MOST_PARTS = 10_000
"""S3's limit for one object; larger parts are used beyond 80 GiB."""
PARTS_AT_ONCE = 8
_BLOCK = 1 << 20
_READS = 5
"""Times that one part is asked for: botocore does not retry what breaks inside a body."""
_BROKEN_OFF = (
    ConnectionClosedError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)


class TransferError(InputError):
    """A transfer broke off. What arrived is kept, and the next try continues there."""


def part_size(size: int) -> int:
    """Bytes a part for a file of `size` bytes: the same at each try, so that parts fit."""
    return max(PART, -(-size // (MOST_PARTS * _BLOCK)) * _BLOCK)


def side_by_side(work: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> None:
    """Call `work` for each, TRANSFERS at once; the first error ends it."""
    _each_in_order(lambda each: work(*each), arguments, TRANSFERS)


def _each_in_order(
    work: Callable[[Any], Any],
    items: Iterable[Any],
    at_once: int,
    then: Callable[[Any], None] = lambda item: None,
) -> None:
    """Call `work` for each item in threads and `then` here, in order, as they are done."""
    source = iter(items)
    with ThreadPoolExecutor(at_once) as pool:
        waiting: list[tuple[Any, Future[Any]]] = []
        try:
            while True:
                fresh = list(islice(source, 2 * at_once - len(waiting)))
                waiting += [(item, pool.submit(work, item)) for item in fresh]
                if not waiting:
                    return
                item, future = waiting.pop(0)
                future.result()
                then(item)
        except BaseException:
            for _, future in waiting:
                future.cancel()
            raise


def upload(path: Path, uri: str, stored_etag: str | None) -> str:
    """Send a file unless it is there; returns its SHA-256.

    `stored_etag` is that of the object which stands at `uri`, if any. ETags are MD5 sums as S3
    defines them for objects without a customer's key; where they are not, the file is sent again.
    """
    size = path.stat().st_size
    bucket, key = split(uri)
    step = part_size(size)
    with errors(uri):
        if size <= step:
            content = path.read_bytes()
            if stored_etag != hashlib.md5(content, usedforsecurity=False).hexdigest():
                client().put_object(Bucket=bucket, Key=key, Body=content)
            return hashlib.sha256(content).hexdigest()
        if stored_etag is not None and stored_etag == _etag(path, step):
            return _sha256(path)
        return _upload_parts(path, bucket, key, step)


def _upload_parts(path: Path, bucket: str, key: str, step: int) -> str:
    identity, sent = _unfinished(path, bucket, key, step)
    tags = dict(sent)
    numbers = range(1, -(-path.stat().st_size // step) + 1)
    digest = hashlib.sha256()

    def send(number: int) -> None:
        if number not in sent:
            answer = client().upload_part(
                Bucket=bucket,
                Key=key,
                UploadId=identity,
                PartNumber=number,
                Body=_read(path, (number - 1) * step, step),
            )
            tags[number] = answer["ETag"]

    def hashed(number: int) -> None:
        _update(digest, path, (number - 1) * step, step)

    _each_in_order(send, numbers, _at_once(step, len(numbers)), hashed)
    parts: Any = [{"PartNumber": number, "ETag": tags[number]} for number in numbers]
    try:
        client().complete_multipart_upload(
            Bucket=bucket, Key=key, UploadId=identity, MultipartUpload={"Parts": parts}
        )
    except ClientError as error:
        # Another process that had the same file finished first, or a retried request did.
        if error.response.get("Error", {}).get("Code") != "NoSuchUpload":
            raise
        client().head_object(Bucket=bucket, Key=key)
    return digest.hexdigest()


def _unfinished(path: Path, bucket: str, key: str, step: int) -> tuple[str, dict[int, str]]:
    """An upload of this very file that a try before left, with its parts' ETags; else a new one."""
    pages = client().get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=key)
    started = [each for page in pages for each in page.get("Uploads", []) if each["Key"] == key]
    for each in sorted(started, key=lambda upload: upload["Initiated"], reverse=True):
        identity = each["UploadId"]
        listed = client().get_paginator("list_parts")
        parts = [
            part
            for page in listed.paginate(Bucket=bucket, Key=key, UploadId=identity)
            for part in page.get("Parts", [])
        ]
        tags = {part["PartNumber"]: part["ETag"] for part in parts}
        ours = all(
            tag.strip('"') == _md5(path, (number - 1) * step, step) for number, tag in tags.items()
        )
        if ours:
            return identity, tags
        client().abort_multipart_upload(Bucket=bucket, Key=key, UploadId=identity)
    return client().create_multipart_upload(Bucket=bucket, Key=key)["UploadId"], {}


def download(
    uri: str,
    target: Path,
    *,
    size: int,
    sha256: str | None = None,
    etag: str | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Fetch an object of `size` bytes to `target`, continuing where a try before stopped.

    It must have the `sha256`, and the `etag` as long as it is read, where given. Raises InputError
    when it does not, TransferError when it cannot be read; `target` is whole or not there.
    """
    bucket, key = split(uri)
    partial = target.with_name(target.name + ".partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    step = part_size(size)
    whole: dict[str, Any] = {"IfMatch": etag.strip('"')} if etag else {}
    about = {"size": size, "step": step, "sha256": sha256, "etag": etag}
    record = _Record(target.with_name(target.name + ".parts"), about, partial)
    digest = hashlib.sha256()
    with partial.open("r+b" if partial.exists() else "w+b") as file:
        descriptor = file.fileno()
        os.truncate(descriptor, size)

        def receive(number: int) -> None:
            if number not in record.done:
                start, end = number * step, min((number + 1) * step, size)
                span = {"Range": f"bytes={start}-{end - 1}"} if size > step else {}
                _receive(bucket, key, {**whole, **span}, descriptor, start, end, size)
                record.add(number)

        def hashed(number: int) -> None:
            _update(digest, partial, number * step, step)
            progress(min(step, size - number * step))

        with errors(uri):
            try:
                parts = max(1, -(-size // step))
                _each_in_order(receive, range(parts), _at_once(step, parts), hashed)
            except _BROKEN_OFF as error:
                raise TransferError(
                    f"{uri} broke off on its way ({error}). Run again: what arrived is kept."
                ) from error
    record.path.unlink(missing_ok=True)
    if sha256 is not None and digest.hexdigest() != sha256:
        partial.unlink()
        raise InputError(
            f"{uri} does not have the SHA-256 that its manifest records: the object was changed or "
            "damaged. Delete the folder on S3 and run the step again."
        )
    partial.replace(target)


def _receive(
    bucket: str,
    key: str,
    asked: dict[str, Any],
    descriptor: int,
    start: int,
    end: int,
    size: int,
) -> None:
    """Write the bytes of one request to their place; a body that breaks off is asked for again."""
    for attempt in range(1, _READS + 1):
        place = start
        answer = client().get_object(Bucket=bucket, Key=key, **asked)
        total = answer.get("ContentRange", f"/{answer['ContentLength']}").rpartition("/")[2]
        if int(total) != size:
            raise InputError(
                f"s3://{bucket}/{key} has {total} bytes where {size} were expected: the object was "
                "changed or damaged. Delete the folder on S3 and run the step again."
            )
        try:
            while block := answer["Body"].read(_BLOCK):
                os.pwrite(descriptor, block, place)
                place += len(block)
            if place != end:
                raise IncompleteReadError(actual_bytes=place - start, expected_bytes=end - start)
            return
        except _BROKEN_OFF:
            if attempt == _READS:
                raise


def _at_once(step: int, parts: int) -> int:
    return max(1, min(PARTS_AT_ONCE * PART // step, parts))


class _Record:
    """Which parts of a file arrived, in a file beside it: a first line for which file it is, then
    a number a line, each written when its part is."""

    def __init__(self, path: Path, about: dict[str, Any], partial: Path) -> None:
        self.path = path
        self.done: set[int] = set()
        head = json.dumps(about)
        self._parted = about["size"] > about["step"]
        lines = path.read_text().splitlines() if path.is_file() and partial.is_file() else []
        if lines and lines[0] == head:
            self.done = {int(line) for line in lines[1:]}
        else:
            partial.unlink(missing_ok=True)
            if self._parted:
                path.write_text(head + "\n")

    def add(self, number: int) -> None:
        """Note that a part is in the file; where there is but one, the file itself says so."""
        if self._parted:
            with self.path.open("a") as file:
                file.write(f"{number}\n")


def _read(path: Path, start: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(count)


def _update(digest: Any, path: Path, start: int, count: int) -> None:
    with path.open("rb") as file:
        file.seek(start)
        while count > 0 and (block := file.read(min(_BLOCK, count))):
            digest.update(block)
            count -= len(block)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _md5(path: Path, start: int, count: int) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    _update(digest, path, start, count)
    return digest.hexdigest()


def _etag(path: Path, step: int) -> str:
    """The ETag of a multipart object: MD5 of its parts' MD5 sums, and how many they are."""
    starts: Sequence[int] = range(0, path.stat().st_size, step)
    sums = b"".join(bytes.fromhex(_md5(path, start, step)) for start in starts)
    return f"{hashlib.md5(sums, usedforsecurity=False).hexdigest()}-{len(starts)}"
