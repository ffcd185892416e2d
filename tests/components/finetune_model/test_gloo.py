"""Collectives made of sends: what torch's own give, to the bit, on every process."""

from tests.components.finetune_model.ranks import joined, torchrun

PROCESSES = 3


def test_large_sums_and_gathers_are_those_of_torch_on_every_process() -> None:
    torchrun(__file__, PROCESSES)


def one_process() -> None:
    import deepspeed
    import torch
    import torch.distributed as dist

    from components.finetune_model import gloo

    rank = dist.get_rank()
    torch.manual_seed(rank)
    sizes = (7, gloo.WORTHWHILE, gloo.WORTHWHILE + 1)  # sent whole; in equal parts; in unequal ones
    for dtype in (torch.bfloat16, torch.float32):
        for size in sizes:
            # Few enough digits that their sum is exact, in whatever order it is taken.
            given = torch.randint(-8, 9, (size,)).to(dtype)
            expected = given.clone()
            dist.all_reduce(expected)
            deepspeed.comm.all_reduce(given)
            assert torch.equal(given, expected)
    largest = torch.full((gloo.WORTHWHILE,), rank)
    deepspeed.comm.all_reduce(largest, deepspeed.comm.ReduceOp.MAX)
    assert largest.unique().tolist() == [PROCESSES - 1]
    for size in sizes:
        part = torch.full((size,), float(rank))
        whole = torch.empty(PROCESSES * size)
        deepspeed.comm.all_gather_into_tensor(whole, part)
        assert whole.view(PROCESSES, size).unique(dim=1).flatten().tolist() == [0.0, 1.0, 2.0]
        whole = torch.zeros(PROCESSES * size)
        mine = whole[rank * size : (rank + 1) * size].fill_(rank)
        deepspeed.comm.all_gather_into_tensor(whole, mine)
        assert whole.view(PROCESSES, size).unique(dim=1).flatten().tolist() == [0.0, 1.0, 2.0]


if __name__ == "__main__":
    joined(one_process)
