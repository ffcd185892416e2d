"""S3 transfers against s5cmd and boto3's defaults, in one run.

They go to an object store of this run's own, in turns, and the median of the rounds counts.
finegate's times include SHA-256 of every byte on both ways, s5cmd's do not; what s5cmd takes
with `sha256sum` behind it stands in a row of its own. Peak memory is that of a process that does
nothing else.
"""

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measuring import output_of, seconds
from benchmarks.results import Rows, Target, at_least, at_most

LARGE_MB = 512
SMALL_FILES, SMALL_KB = 2_000, 64
ROUNDS, ROUNDS_SMALL = 9, 3
Targets = list[Target]
Run = tuple[str, Callable[[], Any]]


def transfers(folder: Path, rows: Rows, targets: Targets) -> None:
    """One large file and many small ones, up and down."""
    import boto3

    from components import folders, storage
    from pipelines import object_store

    variables = object_store.start(folder / "store")
    os.environ.update(variables)
    storage.client.cache_clear()
    try:
        large, small = folder / "large", folder / "small"
        for path in (large, small):
            path.mkdir()
        fill(large / "large.bin", LARGE_MB << 20)
        for number in range(SMALL_FILES):
            fill(small / f"{number:05}.bin", SMALL_KB << 10)
        back = folder / "back"
        program = str(Path(sys.executable).with_name("s5cmd"))

        def s5cmd(*arguments: str) -> None:
            command = [program, "--endpoint-url", variables["AWS_ENDPOINT_URL_S3"], *arguments]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

        def one_by_one(prefix: str) -> None:
            client = boto3.Session().client("s3")
            for path in small.iterdir():
                client.upload_file(str(path), object_store.BUCKET, f"{prefix}/{path.name}")

        def one_by_one_back(prefix: str) -> None:
            client = boto3.Session().client("s3")
            (back / "small").mkdir(parents=True)
            for path in small.iterdir():
                target = str(back / "small" / path.name)
                client.download_file(object_store.BUCKET, f"{prefix}/{path.name}", target)

        times: dict[str, list[float]] = {}
        for turn in range(ROUNDS):
            at, key = f"s3://{object_store.BUCKET}/{turn}", str(turn)
            client = boto3.Session().client("s3")
            bucket, name = object_store.BUCKET, f"{key}/finegate/large.bin"

            def hashed(back: Path = back, at: str = at) -> None:
                s5cmd("cp", f"{at}/finegate/large.bin", f"{back}/hashed.bin")
                command = ["sha256sum", f"{back}/hashed.bin"]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

            runs: list[Run] = [
                ("large up, finegate", lambda at=at: folders.publish(large, f"{at}/finegate", {})),
                ("large up, s5cmd", lambda at=at: s5cmd("cp", f"{large}/", f"{at}/s5cmd/")),
                (
                    "large up, boto3",
                    lambda c=client, b=bucket, k=key: c.upload_file(
                        str(large / "large.bin"), b, f"{k}/boto3.bin"
                    ),
                ),
                ("large down, finegate", lambda at=at: folders.fetch(f"{at}/finegate", back)),
                (
                    "large down, s5cmd",
                    lambda at=at: s5cmd("cp", f"{at}/finegate/large.bin", f"{back}/s5cmd.bin"),
                ),
                ("large down, s5cmd and sha256sum", hashed),
                (
                    "large down, boto3",
                    lambda c=client, b=bucket, n=name: c.download_file(b, n, f"{back}/boto3.bin"),
                ),
                ("small up, finegate", lambda at=at: folders.publish(small, f"{at}/many", {})),
                ("small up, s5cmd", lambda at=at: s5cmd("cp", f"{small}/", f"{at}/many5/")),
                ("small up, boto3 one by one", lambda k=key: one_by_one(f"{k}/manyb")),
                ("small down, finegate", lambda at=at: folders.fetch(f"{at}/many", back)),
                ("small down, s5cmd", lambda at=at: s5cmd("cp", f"{at}/many/*", f"{back}/")),
                ("small down, boto3 one by one", lambda k=key: one_by_one_back(f"{k}/many")),
            ]
            ups, downs, small_runs = runs[:3], runs[3:7], runs[7:]
            order = rotated(ups, turn) + rotated(downs, turn)
            if turn < ROUNDS_SMALL:
                order += small_runs
            for number, (name, work) in enumerate(order):
                back.mkdir()
                os.sync()  # else the disk is still at the writes of the one before
                if name.startswith("large"):
                    own_memory(folder / "own")
                times.setdefault(name, []).append(seconds(work))
                if name.startswith("large"):
                    shutil.rmtree(back)
                else:
                    # Kept to the end: for minutes ext4 walks past each inode that was deleted
                    # (recently_deleted), and creating the next 2,000 files took 0.5 ms more each.
                    back.rename(folder / f"back-{turn}-{number}")
        median = {name: statistics.median(taken) for name, taken in times.items()}
        for name, taken in median.items():
            count, unit = (
                (LARGE_MB, "MB/s") if name.startswith("large") else (SMALL_FILES, "files/s")
            )
            rows.append({"what": name, "value": count / taken, "unit": unit})
        ratio = {
            (what, peer): median[f"{what}, {peer}"] / median[f"{what}, finegate"]
            for what in ("large up", "large down", "small up", "small down")
            for peer in ("s5cmd", "boto3 one by one", "s5cmd and sha256sum")
            if f"{what}, {peer}" in median
        }
        targets.append(at_least("large up, x s5cmd", ratio["large up", "s5cmd"], 1.0))
        targets.append(at_least("large down, x s5cmd", ratio["large down", "s5cmd"], 0.8))
        name = "large down, x s5cmd and sha256sum"
        targets.append(at_least(name, ratio["large down", "s5cmd and sha256sum"], 0.8))
        for what in ("small up", "small down"):
            name = f"{what}, x boto3 one by one"
            targets.append(at_least(name, ratio[what, "boto3 one by one"], 2.0))
        memory(folder, rows, targets)
    finally:
        object_store.stop(folder / "store")


def rotated(runs: list[Run], turn: int) -> list[Run]:
    """Another one first in each round, since the place in it counts."""
    first = turn % len(runs)
    return runs[first:] + runs[:first]


def own_memory(path: Path) -> None:
    """Get the memory for a large file from a virtual machine's host, and free it in the machine.

    Who writes to memory that was free for some seconds seems to wait for the host, which takes it
    back (free page reporting). Seen with finegate's and boto3's downloads, not with s5cmd's, so
    this helps those two; it is done before every large run alike.
    """
    fill(path, LARGE_MB << 20)
    path.unlink()


def fill(path: Path, size: int) -> None:
    """A file of random bytes, which nothing can compress."""
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        while size > 0:
            file.write(block[: min(size, len(block))])
            block = block[1:] + block[:1]  # no two blocks are the same
            size -= len(block)


_MEMORY = """
import sys
from pathlib import Path
from components import folders
folders.publish(Path(sys.argv[1]), sys.argv[3], {})
folders.fetch(sys.argv[3], Path(sys.argv[2]))
# Not ru_maxrss: a new process starts with the size of the one that made it.
[peak] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(peak.split()[1]) >> 10)
"""


def memory(folder: Path, rows: Rows, targets: Targets) -> None:
    """Peak memory of a process that sends and fetches files of rising size, and many at once."""
    cases = {"64 MB": ([64], 1), "2 GB": ([2048], 1), "200 files of 8 MB": ([8], 200)}
    for name, (sizes, count) in cases.items():
        source = folder / "memory"
        source.mkdir()
        for number in range(count):
            fill(source / f"{number}.bin", sizes[0] << 20)
        command = [sys.executable, "-c", _MEMORY, str(source), str(folder / "memory-back")]
        uri = f"s3://finegate/memory/{len(rows)}"
        peak = int(output_of([*command, uri]))
        rows.append({"what": f"peak memory, {name} up and down", "value": peak, "unit": "MB"})
        targets.append(at_most(f"peak memory in MB, {name}", peak, 300))
        shutil.rmtree(source)
        shutil.rmtree(folder / "memory-back")
