"""Files to S3: in parallel parts, continued where a try before stopped, not sent twice."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from components.storage import client, errors, split
from components.transfers import each_in_order, part_size, parts_at_once, update


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
        update(digest, path, (number - 1) * step, step)

    each_in_order(send, numbers, parts_at_once(step, len(numbers)), hashed)
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


def _read(path: Path, start: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(count)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _md5(path: Path, start: int, count: int) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    update(digest, path, start, count)
    return digest.hexdigest()


def _etag(path: Path, step: int) -> str:
    """The ETag of a multipart object: MD5 of its parts' MD5 sums, and how many they are."""
    starts: Sequence[int] = range(0, path.stat().st_size, step)
    sums = b"".join(bytes.fromhex(_md5(path, start, step)) for start in starts)
    return f"{hashlib.md5(sums, usedforsecurity=False).hexdigest()}-{len(starts)}"
