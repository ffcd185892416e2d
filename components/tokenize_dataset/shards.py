"""Token ids of one stretch of a split: the same bytes wherever and however often it is made."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.findings import ROWS_NAMED
from components.problem_types import REGRESSION, SINGLE

if TYPE_CHECKING:
    from serving.encoding import Encoder

SHARD_ROWS = 50_000
BATCH_ROWS = 5_000
"""Rows at once: large enough that the tokenizer's threads seldom wait for each other."""


@dataclass(frozen=True)
class Shard:
    """Row groups `first` to `last`, the latter excluded, of the texts at `source`."""

    source: Path
    split: str
    number: int
    first: int
    last: int
    rows: int

    @property
    def name(self) -> str:
        """Where it lies in the tokenized folder. A split is a folder of shards in order, which
        pyarrow and pandas read as one table."""
        return f"{self.split}.parquet/{self.number:05d}.parquet"


def plan(source: Path, split: str) -> list[Shard]:
    """Shards of SHARD_ROWS rows at least, of whole row groups."""
    with pq.ParquetFile(source) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    shards: list[Shard] = []
    first = rows = 0
    for group, size in enumerate(sizes):
        rows += size
        if rows >= SHARD_ROWS or group == len(sizes) - 1:
            shards.append(Shard(source, split, len(shards), first, group + 1, rows))
            first, rows = group + 1, 0
    return shards


def write(
    shard: Shard, target: Path, encoder: "Encoder", problem_type: str, labels: list[str]
) -> dict[str, Any]:
    """Tokenize a shard to the Parquet file `target`; returns counts, and rows that stand out.

    Columns: the model's inputs as lists of int32, and `labels` as the problem type has them.
    """
    # No token has the id -1, so without an unknown token there is none.
    unknown_id = -1 if encoder.tokenizer.unk_token_id is None else encoder.tokenizer.unk_token_id
    lengths = np.zeros(encoder.max_length + 1, dtype=np.int64)
    counts = dict.fromkeys(("rows", "tokens", "unknown", "rows_unknown", "truncated"), 0)
    named: dict[str, list[tuple[str, int]]] = {"truncated": [], "unknown": []}
    writer: pq.ParquetWriter | None = None
    for batch in _batches(shard):
        columns, starts, truncated = encoder.encode_columns(batch["text"], batch.get("text_pair"))
        sizes = np.diff(starts)
        before = np.concatenate([[0], np.cumsum(columns["input_ids"] == unknown_id)])
        unknown = before[starts[1:]] - before[starts[:-1]]
        lengths += np.bincount(sizes, minlength=len(lengths))
        counts["rows"] += len(sizes)
        counts["tokens"] += int(sizes.sum())
        counts["unknown"] += int(unknown.sum())
        counts["rows_unknown"] += int(np.count_nonzero(unknown))
        counts["truncated"] += sum(truncated)
        if "file" in batch:
            places = list(zip(batch["file"], batch["row"], strict=True))
            _name(named["truncated"], places, truncated)
            _name(named["unknown"], places, (unknown > 0).tolist())
        arrays = {
            name: pa.ListArray.from_arrays(starts, values) for name, values in columns.items()
        }
        arrays["labels"] = _targets(batch["label"], problem_type, labels)
        table = pa.table(arrays)
        writer = writer or pq.ParquetWriter(target, table.schema, compression="zstd")
        writer.write_table(table)
    assert writer is not None  # validate_dataset lets no empty split through
    writer.close()
    return {**counts, "lengths": lengths.tolist(), "named": named}


def _targets(values: list[Any], problem_type: str, labels: list[str]) -> pa.Array:
    """What transformers' loss takes: class numbers, 0/1 for each class, or numbers."""
    if problem_type == REGRESSION:
        return pa.array([float(value) for value in values], pa.float32())
    places = {label: place for place, label in enumerate(labels)}
    if problem_type == SINGLE:
        return pa.array([places[value] for value in values], pa.int64())
    hot = np.zeros((len(values), len(labels)), dtype=np.float32)
    for row, names in enumerate(values):
        hot[row, [places[name] for name in names]] = 1
    return pa.array(list(hot), pa.list_(pa.float32()))


def _name(named: list[tuple[str, int]], places: list[tuple[str, int]], chosen: list[bool]) -> None:
    room = ROWS_NAMED - len(named)
    named += [place for place, yes in zip(places, chosen, strict=True) if yes][: max(room, 0)]


def _batches(shard: Shard) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(shard.source) as file:
        groups = range(shard.first, shard.last)
        for batch in file.iter_batches(BATCH_ROWS, row_groups=list(groups)):
            yield batch.to_pydict()
