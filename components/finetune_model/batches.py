"""Which rows make up each optimizer step, and what each process takes of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from torch.utils.data import Dataset, Sampler

Lengths = npt.NDArray[np.int64]

POOL = 50
"""Batches whose rows are sorted by length together: enough for little padding, few enough that
each pool still is a random sample of the rows."""


class TokenRows(Dataset[dict[str, Any]]):
    """The rows of a tokenized split, a folder of shards, as what `Padding` takes.

    Read from Arrow's own buffers: `datasets` formats each row, which takes many times longer.
    """

    def __init__(self, folder: Path) -> None:
        shards = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
        table = pa.concat_tables(shards).combine_chunks()
        labels = table["labels"]
        several = pa.types.is_list(labels.type)  # a row of 0.0 and 1.0, one for each class
        self.labels: npt.NDArray[Any] = (
            np.stack(labels.to_numpy()) if several and len(labels) else labels.to_numpy()
        )
        self._features: dict[str, tuple[Lengths, npt.NDArray[np.int32]]] = {}
        for name in table.column_names:
            if name == "labels":
                continue
            chunks = table[name].chunks
            column = chunks[0] if chunks else pa.array([], pa.list_(pa.int32()))
            self._features[name] = (column.offsets.to_numpy(), column.values.to_numpy())
        offsets, _ = self._features["input_ids"]
        self.lengths: Lengths = np.diff(offsets).astype(np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        features: dict[str, Any] = {
            name: values[offsets[row] : offsets[row + 1]]
            for name, (offsets, values) in self._features.items()
        }
        return {**features, "labels": self.labels[row].tolist()}


class GlobalBatches(Sampler[list[int]]):
    """Micro-batches of one process, of global batches that are the same on any number of processes.

    Rows of like length share a global batch, so little padding is computed.
    The order is a function of seed and epoch alone, so a resumed run goes on where it was. Every
    step has `batch_size` rows: the last of an epoch is filled up with rows of the same epoch.
    """

    def __init__(
        self,
        lengths: Lengths,
        batch_size: int,
        *,
        rows: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
    ) -> None:
        """`rows` make a micro-batch; `batch_size` must be a multiple of `rows * world_size`."""
        self._lengths = lengths
        self._batch_size = batch_size
        self._rows = rows
        self._rank = rank
        self._world_size = world_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws."""
        self._epoch = epoch

    @property
    def steps(self) -> int:
        """Optimizer steps in an epoch."""
        return -(-len(self._lengths) // self._batch_size)

    def __len__(self) -> int:
        return self.steps * (self._batch_size // self._world_size // self._rows)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.epoch(self._epoch):
            # Interleaved, so that processes get rows of the same lengths and none waits.
            share = batch[self._rank :: self._world_size]
            for start in range(0, len(share), self._rows):
                yield share[start : start + self._rows].tolist()

    def epoch(self, epoch: int) -> npt.NDArray[np.int64]:
        """Row numbers of an epoch's global batches, [steps, batch_size], longest rows first in
        each; the batch with the longest row comes first, so that too little memory shows at once.
        """
        chance = np.random.default_rng([self._seed, epoch])
        order = chance.permutation(len(self._lengths))
        order = np.resize(order, self.steps * self._batch_size)  # repeats from its start
        pool = POOL * self._batch_size
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            order[start : start + pool] = part[np.argsort(-self._lengths[part], kind="stable")]
        batches = order.reshape(self.steps, self._batch_size)
        batches = batches[chance.permutation(self.steps)]
        longest = int(np.argmax(self._lengths[batches].max(axis=1)))
        batches[[0, longest]] = batches[[longest, 0]]
        return batches
