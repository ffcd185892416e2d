"""The one S3 client: small documents, create-only writes, listings, and clear errors."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
)

from serving.errors import InputError

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

TRANSFERS = 16
"""Requests at once: of a small object most of the time is the round trip."""

_CREDENTIAL_CODES = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
_ABSENT_CODES = {"404", "NoSuchKey", "NotFound"}
CONFLICT_CODES = {"PreconditionFailed", "ConditionalRequestConflict", "409", "412"}


@cache
def client() -> "S3Client":
    """The process's S3 client; endpoint and credentials come from the usual AWS variables.

    Eight attempts outlast about 30 seconds of SlowDown answers; boto3's three give up after 3.
    Without boto3's CRC32, a further reading of every byte: on its way a body is covered by TLS, or
    over http by the SHA-256 that its signature holds, and at rest by the manifest's SHA-256.
    """
    config = Config(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "standard", "total_max_attempts": 8},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=2 * TRANSFERS,
    )
    return connect({}, config)


def connect(variables: Mapping[str, str], config: Config) -> "S3Client":
    """A client by the AWS variables given; the process's own count for those that are not."""
    return boto3.Session().client(  # the default session keeps old keys
        "s3",
        config=config,
        endpoint_url=variables.get("AWS_ENDPOINT_URL_S3"),
        aws_access_key_id=variables.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=variables.get("AWS_SECRET_ACCESS_KEY"),
        region_name=variables.get("AWS_DEFAULT_REGION"),
    )


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`; raises InputError for anything else."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise InputError(f"{uri!r} is not an S3 address; write s3://bucket/prefix.")
    return bucket, key.strip("/")


@contextmanager
def errors(uri: str) -> Iterator[None]:
    """Turn boto3's failures into InputError that names `uri`, the cause and the remedy."""
    try:
        yield
    except EndpointConnectionError as error:
        raise InputError(
            f"no S3 server answers for {uri} ({error}). Start the server, or set "
            "AWS_ENDPOINT_URL_S3 to where it listens."
        ) from error
    except ConnectTimeoutError as error:
        raise InputError(
            f"the S3 server for {uri} did not answer in time ({error}). Check "
            "AWS_ENDPOINT_URL_S3 and the network between here and there."
        ) from error
    except (NoCredentialsError, NoRegionError) as error:
        raise InputError(
            f"{uri} cannot be reached: {error}. Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
            "AWS_DEFAULT_REGION, or give the pod a role."
        ) from error
    except ClientError as error:
        raise _explained(uri, error) from error
    except BotoCoreError as error:
        raise InputError(
            f"S3 failed for {uri}: {error}. Check the server and try again."
        ) from error


def _explained(uri: str, error: ClientError) -> InputError:
    code = error.response.get("Error", {}).get("Code", "")
    if code in _CREDENTIAL_CODES:
        return InputError(
            f"the S3 server refused the credentials for {uri} ({code}). Check AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY, and that they belong to the server at "
            "AWS_ENDPOINT_URL_S3."
        )
    if code in {"AccessDenied", "403"}:
        return InputError(
            f"the S3 credentials may not do {error.operation_name} on {uri} ({code}). Grant that "
            "action on that prefix, or use other credentials."
        )
    if code == "NoSuchBucket":
        return InputError(f"the bucket of {uri} does not exist. Create it, or name another store.")
    if code in _ABSENT_CODES:
        return InputError(f"{uri} does not exist on S3. Check the address.")
    return InputError(f"S3 refused {error.operation_name} on {uri}: {error}.")


def read_bytes(uri: str) -> bytes | None:
    """The object's content, or None when there is none."""
    bucket, key = split(uri)
    with errors(uri):
        try:
            return client().get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _ABSENT_CODES:
                return None
            raise


def etag(uri: str) -> str | None:
    """The object's ETag without its quotes, or None when there is none."""
    bucket, key = split(uri)
    with errors(uri):
        try:
            return client().head_object(Bucket=bucket, Key=key)["ETag"].strip('"')
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _ABSENT_CODES:
                return None
            raise


def read_json(uri: str) -> Any:
    """The parsed JSON document, or None when there is none."""
    content = read_bytes(uri)
    return None if content is None else json.loads(content)


def read_json_lines(uri: str) -> list[Any]:
    """The parsed lines of a JSON Lines object; none when there is none."""
    return [json.loads(line) for line in (read_bytes(uri) or b"").splitlines()]


def write_bytes(uri: str, content: bytes, media_type: str) -> None:
    """Write an object, replacing what was there."""
    bucket, key = split(uri)
    with errors(uri):
        client().put_object(Bucket=bucket, Key=key, Body=content, ContentType=media_type)


def write_json(uri: str, document: Any) -> None:
    """Write a JSON document, replacing what was there."""
    write_bytes(uri, json_bytes(document), "application/json")


def create_json(uri: str, document: Any) -> bool:
    """Write a JSON document only where none is; True when this content now stands there."""
    content = json_bytes(document)
    return create_bytes(uri, content, "application/json") == content


def create_bytes(uri: str, content: bytes, media_type: str) -> bytes | None:
    """Write an object only where none is; returns what stands there afterwards.

    The conditional write (`If-None-Match: *`) decides races. After a conflict the object is read
    back: a retried request whose first try succeeded is answered 412 too.
    """
    bucket, key = split(uri)
    with errors(uri):
        try:
            client().put_object(
                Bucket=bucket, Key=key, Body=content, ContentType=media_type, IfNoneMatch="*"
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in CONFLICT_CODES:
                raise
            return read_bytes(uri)
    return content


def json_bytes(document: Any) -> bytes:
    """UTF-8 JSON with sorted keys; NaN and infinity are refused, as JSON has neither."""
    text = json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    return text.encode()


def delete(uris: Iterable[str]) -> None:
    """Delete objects one after the other, in the order given; an absent one is no error."""
    for uri in uris:
        bucket, key = split(uri)
        with errors(uri):
            client().delete_object(Bucket=bucket, Key=key)


def list_keys(uri: str) -> list[str]:
    """Keys under a prefix, relative to it and sorted (servers differ in their order)."""
    return sorted(list_etags(uri))


def list_etags(uri: str) -> dict[str, str]:
    """ETags, without their quotes, of the objects under a prefix, by key relative to it."""
    return {key: item["ETag"].strip('"') for key, item in list_objects(uri)}


def list_objects(uri: str) -> Iterator[tuple[str, Any]]:
    """The objects under a prefix, by key relative to it, as S3 lists them: ETag, Size and so on."""
    bucket, prefix = split(uri)
    prefix = f"{prefix}/" if prefix else ""
    with errors(uri):
        paginator = client().get_paginator("list_objects_v2")
        for page in paginator.paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                yield item["Key"].removeprefix(prefix), item


def list_folders(uri: str) -> list[str]:
    """Names of the folders directly under a prefix, sorted."""
    bucket, prefix = split(uri)
    prefix = f"{prefix}/" if prefix else ""
    with errors(uri):
        pages = (
            client()
            .get_paginator("list_objects_v2")
            .paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
        )
        found = [item["Prefix"] for page in pages for item in page.get("CommonPrefixes", [])]
    return sorted(name.removeprefix(prefix).rstrip("/") for name in found)


def check(uri: str) -> None:
    """Prove that the store answers, lets us in, and honours conditional writes.

    Raises InputError otherwise: a server that ignores If-None-Match loses promotions silently.
    """
    bucket, _ = split(uri)
    with errors(uri):
        client().list_objects_v2(Bucket=bucket, MaxKeys=1)  # HEAD would not say why it is refused
    probe = f"{uri}/.conditional-write-probe"
    create_json(probe, {"probe": "first"})
    if create_json(probe, {"probe": "second"}):
        raise InputError(
            f"the S3 server of {uri} ignores conditional writes (If-None-Match), so two promotions "
            "could overwrite each other. Use a server that honours them, such as AWS S3, "
            "SeaweedFS, Ceph or MinIO."
        )
