"""Tokenization against `encode_batch` of the same tokenizer on the same texts.

Ours is the whole way from Parquet to Parquet; the ceiling's result is thrown away.
"""

import os
import random
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

from benchmarks.measuring import output_of, seconds
from benchmarks.results import Rows, Target, at_least, at_most

ROUNDS = 3
ROWS, MORE_ROWS, MANY_ROWS = 100_000, 200_000, 1_000_000


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


def tokenization(folder: Path, rows: Rows, targets: list[Target]) -> None:
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
        command = [sys.executable, "-m", "benchmarks.tokenization", str(sources[count])]
        command += [str(folder / "tokenizer"), str(target), str(processes)]
        with peak:
            output = output_of(command)
        shutil.rmtree(target)
        what = f"peak memory, {count:,} rows, {processes} process(es)"
        rows.append({"what": what, "value": peak.megabytes, "unit": "MB"})
        peaks[count, processes] = peak.megabytes
        return float(output.split()[-1])

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
    from components.problem_types import SINGLE
    from components.tokenize_dataset import shards, workers
    from serving.encoding import Encoder

    Encoder.from_folder(Path(tokenizer)).encode(["warm"])
    began = time.monotonic()
    plan = shards.plan(Path(source), "train")
    labels = ["a", "b"]
    kind, count = SINGLE, int(processes)
    for shard, _ in workers.tokenized(plan, Path(tokenizer), Path(target), kind, labels, count):
        (Path(target) / shard.name).unlink()
    sys.stdout.write(f"{time.monotonic() - began}\n")


if __name__ == "__main__":
    worker(*sys.argv[1:])
