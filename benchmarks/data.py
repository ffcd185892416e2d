"""S3 transfers against s5cmd and boto3's defaults, tokenization against encode_batch, in one run.

    python -m benchmarks.data [transfers] [tokenization] [--json FILE]

Transfers go to an object store of this run's own, in turns, and the median of the rounds counts.
finegate's times include SHA-256 of every byte on both ways, s5cmd's do not; what s5cmd takes
with `sha256sum` behind it stands in a row of its own. Peak memory is that of a process that does
nothing else. Tokenization is the whole way from Parquet to Parquet; the ceiling is `encode_batch`
of the same tokenizer on the same texts, whose result is thrown away.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

from benchmarks.results import Target, at_least, at_most, finish, show

LARGE_MB = 512
SMALL_FILES, SMALL_KB = 2_000, 64
ROUNDS = 3
ROWS, MORE_ROWS, MANY_ROWS = 100_000, 200_000, 1_000_000
Rows = list[dict[str, Any]]
Targets = list[Target]


def main() -> None:
    """Run the chosen parts and print a table and the targets."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", default=["transfers", "tokenization"])
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    rows: Rows = []
    targets: Targets = []
    with tempfile.TemporaryDirectory(prefix="finegate-benchmark-") as folder:
        for part in chosen.parts:
            {"transfers": transfers, "tokenization": tokenization}[part](
                Path(folder), rows, targets
            )
    show(rows)
    finish(rows, targets, chosen.json)


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


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

            runs: list[tuple[str, Callable[[], Any]]] = [
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
            # Who goes first changes from round to round: writes of one slow the next.
            for name, work in runs if turn % 2 == 0 else runs[:3][::-1] + runs[3:]:
                shutil.rmtree(back, ignore_errors=True)
                back.mkdir()
                times.setdefault(name, []).append(seconds(work))
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
        ended = subprocess.run([*command, uri], check=True, capture_output=True, text=True)
        peak = int(ended.stdout)
        rows.append({"what": f"peak memory, {name} up and down", "value": peak, "unit": "MB"})
        targets.append(at_most(f"peak memory in MB, {name}", peak, 300))
        shutil.rmtree(source)
        shutil.rmtree(folder / "memory-back")


def texts(count: int) -> Iterator[str]:
    """Made-up English of 8 to 40 words, as frequent as Zipf has them."""
    chance = random.Random(0)
    syllables = ["ta", "re", "mon", "li", "ser", "ing", "vo", "pla", "ne", "com", "dis", "ter"]
    words = ["".join(chance.choices(syllables, k=chance.randint(1, 4))) for _ in range(20_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    drawn = chance.choices(words, weights, k=1_000_000)
    for _ in range(count):
        start, length = chance.randrange(len(drawn) - 40), chance.randint(8, 40)
        yield " ".join(drawn[start : start + length])


def tokenization(folder: Path, rows: Rows, targets: Targets) -> None:
    """Parquet in, Parquet out, on one and on all cores."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from transformers import BertConfig

    from components.tokenize_dataset.settings import VocabularySettings
    from components.tokenize_dataset.vocabulary import build

    sample = list(texts(ROWS))
    tokenizer = build(sample[:5_000], VocabularySettings(size=8_000), BertConfig())
    tokenizer.model_max_length = 128
    tokenizer.save_pretrained(str(folder / "tokenizer"))
    sources = {}
    for count in (ROWS, MORE_ROWS, MANY_ROWS):
        sources[count] = folder / f"{count}.parquet"
        schema = pa.schema([("text", pa.string()), ("label", pa.string())])
        with pq.ParquetWriter(sources[count], schema) as writer:
            group: list[str] = []
            for text in texts(count):
                group.append(text)
                if len(group) == 10_000:
                    labels = ["a", "b"] * 5_000
                    writer.write_table(pa.table([group, labels], schema=schema))
                    group = []
    rust = tokenizer.backend_tokenizer
    rust.enable_truncation(128)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    rust.encode_batch(sample[:100])

    def ceiling() -> None:
        for start in range(0, ROWS, 1_000):
            rust.encode_batch(sample[start : start + 1_000])

    def ours(count: int, processes: int) -> float:
        target = folder / "tokens"
        peak = Peak()
        command = [sys.executable, "-m", "benchmarks.data", "--worker", str(sources[count])]
        command += [str(folder / "tokenizer"), str(target), str(processes)]
        with peak:
            ended = subprocess.run(command, check=True, capture_output=True, text=True)
        shutil.rmtree(target)
        what = f"peak memory, {count:,} rows, {processes} process(es)"
        rows.append({"what": what, "value": peak.megabytes, "unit": "MB"})
        peaks[count, processes] = peak.megabytes
        return float(ended.stdout.split()[-1])

    peaks: dict[tuple[int, int], float] = {}
    for processes, parallel, count in ((1, "false", ROWS), (2, "true", MANY_ROWS)):
        os.environ["TOKENIZERS_PARALLELISM"] = parallel
        rounds = ROUNDS if count == ROWS else 1
        pairs = [(seconds(ceiling), ours(count, processes)) for _ in range(rounds)]
        pairs += [(seconds(ceiling), pairs[0][1])]  # before and after a long run
        best = ROWS / statistics.median(pair[0] for pair in pairs)
        rate = count / statistics.median(pair[1] for pair in pairs)
        for name, value in (("encode_batch", best), (f"finegate, {count:,} rows", rate)):
            what = f"tokenization, {name}, {processes} core(s)"
            rows.append({"what": what, "value": value, "unit": "rows/s"})
        name = f"tokenization, {count:,} rows, {processes} core(s), x encode_batch"
        targets.append(at_least(name, rate / best, 0.85))
    ours(MORE_ROWS, 2)
    growth = peaks[MANY_ROWS, 2] / peaks[MORE_ROWS, 2]
    targets.append(at_most(f"peak memory, {MANY_ROWS:,} rows over {MORE_ROWS:,}", growth, 1.2))


class Peak(Thread):
    """The most memory that this process's children have at one time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.megabytes = 0.0
        self._over = Event()

    def run(self) -> None:
        import psutil

        here = psutil.Process()
        while not self._over.wait(0.5):  # asking costs the children time
            held = 0
            for child in here.children(recursive=True):
                try:
                    held += child.memory_full_info().uss
                except psutil.Error:
                    continue
            self.megabytes = max(self.megabytes, held / (1 << 20))

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def worker(source: str, tokenizer: str, target: str, processes: str) -> None:
    """Tokenize a file as the step does, and print the seconds without imports."""
    from components.tokenize_dataset import shards, workers
    from serving.encoding import Encoder

    Encoder.from_folder(Path(tokenizer)).encode(["warm"])
    began = time.monotonic()
    plan = shards.plan(Path(source), "train")
    labels = ["a", "b"]
    kind, count = shards.SINGLE, int(processes)
    for shard, _ in workers.tokenized(plan, Path(tokenizer), Path(target), kind, labels, count):
        (Path(target) / shard.name).unlink()
    sys.stdout.write(f"{time.monotonic() - began}\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        main()
