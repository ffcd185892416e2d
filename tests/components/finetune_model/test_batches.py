"""Global batches: the same rows in each step on any number of processes."""

import numpy as np
import pytest

from components.finetune_model.batches import GlobalBatches

LENGTHS = np.random.default_rng(0).integers(3, 60, 1003)


def steps(world_size: int, rows: int, epoch: int = 0, seed: int = 1) -> list[set[int]]:
    """The rows of each optimizer step, over all processes."""
    shares = []
    for rank in range(world_size):
        batches = GlobalBatches(LENGTHS, 32, rows=rows, rank=rank, world_size=world_size, seed=seed)
        batches.set_epoch(epoch)
        shares.append(list(batches))
        assert len(shares[-1]) == len(batches)
        assert all(len(micro) == rows for micro in shares[-1])
    each = 32 // world_size // rows
    return [
        {row for share in shares for micro in share[start : start + each] for row in micro}
        for start in range(0, len(shares[0]), each)
    ]


@pytest.mark.parametrize(("world_size", "rows"), [(1, 8), (2, 16), (4, 2)])
def test_each_step_has_the_same_rows_on_any_number_of_processes(world_size: int, rows: int) -> None:
    assert steps(world_size, rows, epoch=2) == steps(1, 32, epoch=2)


def test_an_epoch_has_every_row_and_the_next_has_another_order() -> None:
    first, second = steps(1, 32, epoch=0), steps(1, 32, epoch=1)
    assert set.union(*first) == set.union(*second) == set(range(len(LENGTHS)))
    assert first != second
    assert first != steps(1, 32, seed=2)


def test_rows_of_like_length_share_a_batch_and_the_longest_comes_first() -> None:
    batches = GlobalBatches(LENGTHS, 32, rows=32).epoch(0)
    padded = LENGTHS[batches].max(axis=1).sum() * 32
    assert padded / LENGTHS.sum() < 1.1
    assert LENGTHS[batches[0]].max() == LENGTHS.max()


def test_a_batch_larger_than_the_data_repeats_rows() -> None:
    [batch] = GlobalBatches(LENGTHS[:5], 8, rows=8).epoch(0)
    assert set(batch) == set(range(5))
