"""Files to S3: in parallel parts, continued where a try before stopped, no object replaced."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from components.storage import CONFLICT_CODES, client, errors, etag, split
from components.transfers import each_in_order, part_size, parts_at_once, update
from serving.errors import InputError

_OVERTAKEN_CODES = {"NoSuchUpload", "InvalidPart", *CONFLICT_CODES}
"""What S3 answers when another process was first with an object, or a retried request was."""


def upload(path: Path, uri: str, name: str, stored: Mapping[str, str]) -> dict[str, Any]:
    """Send a file to the folder `uri` as `name`, unless it is there; returns a manifest's entry.

    `stored` has the ETags of what the folder holds. Where other content stands under the name, as
    of another attempt whose manifest may count on it, the file goes to a place of its own,
    `<sha256>/<name>`, and the entry's `object` says so. ETags are MD5 sums as S3 defines them for
    objects without a customer's key; where they are not, a file that is there counts as another.
    """
    entry = {"path": name, "size": path.stat().st_size}
    sha256 = _create(path, f"{uri}/{name}", stored.get(name))
    if sha256 is None:
        sha256 = _sha256(path)
        entry["object"] = place = f"{sha256}/{name}"
        sent = _create(path, f"{uri}/{place}", stored.get(place))
        # What is there has the content that its address says, whatever its ETag.
        if sent is None and etag(f"{uri}/{place}") is None:
            raise InputError(
                f"the upload to {uri}/{place} was aborted on the server. Run the step again."
            )
    return {**entry, "sha256": sha256}


def _create(path: Path, uri: str, stored_etag: str | None) -> str | None:
    """Send a file to where nothing is; returns its SHA-256, or None where other content stands."""
    size = path.stat().st_size
    bucket, key = split(uri)
    step = part_size(size)
    with errors(uri):
        if size > step:
            if stored_etag is None:
                return _upload_parts(path, uri, step)
            return _sha256(path) if stored_etag == _etag(path, step) else None
        content = path.read_bytes()
        ours = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if stored_etag is None:
            try:
                client().put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
                stored_etag = ours
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") not in CONFLICT_CODES:
                    raise
                stored_etag = etag(uri)
        return hashlib.sha256(content).hexdigest() if stored_etag == ours else None


def _upload_parts(path: Path, uri: str, step: int) -> str | None:
    bucket, key = split(uri)
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

    try:
        each_in_order(send, numbers, parts_at_once(step, len(numbers)), hashed)
        parts: Any = [{"PartNumber": number, "ETag": tags[number]} for number in numbers]
        client().complete_multipart_upload(
            Bucket=bucket,
            Key=key,
            UploadId=identity,
            MultipartUpload={"Parts": parts},
            IfNoneMatch="*",
        )
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") not in _OVERTAKEN_CODES:
            raise
        with suppress(client().exceptions.NoSuchUpload):
            client().abort_multipart_upload(Bucket=bucket, Key=key, UploadId=identity)
        return _sha256(path) if etag(uri) == _etag(path, step) else None
    return digest.hexdigest()


def _unfinished(path: Path, bucket: str, key: str, step: int) -> tuple[str, dict[int, str]]:
    """An upload that a try before left, and the ETags of its parts that are this file's; else a
    new one. A part that was torn as its sender was killed is sent again."""
    pages = client().get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=key)
    started = [each for page in pages for each in page.get("Uploads", []) if each["Key"] == key]
    for each in sorted(started, key=lambda upload: upload["Initiated"], reverse=True):
        identity = each["UploadId"]
        listed = client().get_paginator("list_parts")
        with suppress(client().exceptions.NoSuchUpload):  # it ended since
            parts = [
                part
                for page in listed.paginate(Bucket=bucket, Key=key, UploadId=identity)
                for part in page.get("Parts", [])
            ]
            tags = {part["PartNumber"]: part["ETag"] for part in parts}
            ours = {
                number: tag
                for number, tag in tags.items()
                if tag.strip('"') == _md5(path, (number - 1) * step, step)
            }
            if ours or not tags:
                return identity, ours
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
