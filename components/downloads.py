"""Objects from S3: in parallel parts, continued where a try before stopped, verified."""

import hashlib
import json
import os
from collections.abc import Callable
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from botocore.exceptions import (
    ConnectionClosedError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from components.storage import client, errors, split
from components.transfers import (
    BLOCK,
    TransferError,
    each_in_order,
    part_size,
    parts_at_once,
)
from serving.errors import InputError

_READS = 5
"""Times that one part is asked for: botocore does not retry what breaks inside a body."""
_BROKEN_OFF = (
    ConnectionClosedError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)


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
            count = min(step, size - number * step)
            if count:  # mapped, to be read where it lies, without a copy
                with mmap(descriptor, count, access=ACCESS_READ, offset=number * step) as part:
                    digest.update(part)
            progress(count)

        with errors(uri):
            try:
                parts = max(1, -(-size // step))
                each_in_order(receive, range(parts), parts_at_once(step, parts), hashed)
            except _BROKEN_OFF as error:
                raise TransferError(
                    f"{uri} broke off on its way ({error}). Run again: what arrived is kept."
                ) from error
    record.end()
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
            while block := answer["Body"].read(BLOCK):
                os.pwrite(descriptor, block, place)
                place += len(block)
            if place != end:
                raise IncompleteReadError(actual_bytes=place - start, expected_bytes=end - start)
            return
        except _BROKEN_OFF:
            if attempt == _READS:
                raise


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
            if lines:  # of another file in this place
                path.unlink()
            if self._parted:
                path.write_text(head + "\n")

    def add(self, number: int) -> None:
        """Note that a part is in the file; where there is but one, the file itself says so."""
        if self._parted:
            with self.path.open("a") as file:
                file.write(f"{number}\n")

    def end(self) -> None:
        """Every part is there: the record goes."""
        if self._parted:
            self.path.unlink(missing_ok=True)
