"""What uploads and downloads have in common: parts of files, many at once, hashed in order.

boto3's own transfers start again from nothing after a kill. Here a part that arrived stays: parts
of an upload on the server (ListParts), parts of a download in the file, with a record beside it.
Memory is bounded by parts in flight, whatever the size of the file.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from components.storage import TRANSFERS
from serving.errors import InputError

PART = 8 << 20
"""Bytes of a part; a file up to this size moves in one request."""
MOST_PARTS = 10_000
"""S3's limit for one object; larger parts are used beyond 80 GiB."""
PARTS_AT_ONCE = 8
BLOCK = 256 << 10
"""Bytes of a body that are written at once. ext4 keeps a write of 1 MiB and more in one piece of
memory that a virtual machine may have given back to its host, which takes several times as long."""
HASHED = 1 << 20
"""Bytes of a file that are hashed at once."""


class TransferError(InputError):
    """A transfer broke off. What arrived is kept, and the next try continues there."""


def part_size(size: int) -> int:
    """Bytes a part for a file of `size` bytes: the same at each try, so that parts fit."""
    return max(PART, -(-size // (MOST_PARTS * BLOCK)) * BLOCK)


def parts_at_once(step: int, parts: int) -> int:
    """How many of a file's `parts` of `step` bytes move at once."""
    return max(1, min(PARTS_AT_ONCE * PART // step, parts))


def side_by_side(work: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> None:
    """Call `work` for each, TRANSFERS at once; the first error ends it."""
    each_in_order(lambda each: work(*each), arguments, TRANSFERS)


def each_in_order(
    work: Callable[[Any], Any],
    items: Iterable[Any],
    at_once: int,
    then: Callable[[Any], None] = lambda item: None,
) -> None:
    """Call `work` for each item in threads and `then` here, in order, as they are done."""
    if at_once == 1:
        for item in items:
            work(item)
            then(item)
        return
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


def update(digest: Any, path: Path, start: int, count: int) -> None:
    """Feed `count` bytes of a file from `start` on to a hash."""
    buffer = memoryview(bytearray(min(HASHED, count)))
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while count > 0 and (got := file.readinto(buffer[:count])):
            digest.update(buffer[:got])
            count -= got
