"""Gradients in fewer passes, with real DeepSpeed on one process and on two."""

import pytest

from tests.components.finetune_model.ranks import joined, torchrun

CLIPPED = 1e-3
INFINITE = 1e30, 1e15  # input and factor: their product is beyond fp32, each alone is not


@pytest.mark.parametrize("processes", [1, 2])
def test_steps_are_those_of_the_mean_gradient_and_one_without_a_finite_norm_is_skipped(
    processes: int,
) -> None:
    torchrun(__file__, processes)


def one_process() -> None:
    for stage in (0, 1, 2):
        for bf16 in (True, False):
            one_engine(stage, bf16=bf16)


def one_engine(stage: int, *, bf16: bool) -> None:
    import deepspeed
    import torch
    import torch.distributed as dist

    from components.finetune_model.deepspeed_config import deepspeed_config
    from components.finetune_model.gradients import in_fewer_passes
    from components.finetune_model.settings import TrainingSettings

    rank, processes = dist.get_rank(), dist.get_world_size()
    settings = TrainingSettings(zero_stage=stage, max_grad_norm=CLIPPED)  # type: ignore[arg-type]  # 0 to 2
    config = deepspeed_config(settings, bf16=bf16, on_gpu=False)
    sizes = {"train_batch_size": 2 * processes, "train_micro_batch_size_per_gpu": 1}
    model = torch.nn.Linear(5, 3)
    with torch.no_grad():
        for each in model.parameters():
            each.zero_()  # so that steps are not rounded by bf16 weights
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=torch.optim.SGD([{"params": [each]} for each in model.parameters()], lr=1.0),
        config={**config, **sizes, "gradient_accumulation_steps": 2},
    )
    in_fewer_passes(engine)
    dtype = torch.bfloat16 if bf16 else torch.float32

    def step(value: float, factor: float) -> torch.Tensor:
        """The weights [3, 5] and biases [3] after a step of two micro-batches, as one line."""
        for part in (0.5, 1.5):
            engine.backward((engine(torch.full((1, 5), value, dtype=dtype)) * factor * part).sum())
            engine.step()
        return torch.cat([each.detach().float().flatten() for each in model.parameters()])

    # In the mean over processes and micro-batches the gradients are 2 or, with one process, 1.
    after = step(1, 1 + 2 * rank)
    torch.testing.assert_close(after, torch.full((18,), -CLIPPED / 18**0.5), rtol=1e-2, atol=0)
    if bf16 or stage:  # DeepSpeed neither tells fp32's norm nor skips a step of it, without ZeRO
        norm = torch.as_tensor(engine.get_global_grad_norm()).item()
        torch.testing.assert_close(norm, processes * 18**0.5, rtol=2**-8, atol=0)  # bf16's rounding
        # The weights' gradient is infinite on one process alone, the biases' is finite.
        again = step(*(INFINITE if rank == 0 else (1, 1)))
        assert engine.skipped_steps == 1
        assert torch.equal(again, after)


if __name__ == "__main__":
    joined(one_process)
