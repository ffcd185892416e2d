"""The norm in one pass, with real DeepSpeed on two processes."""

from tests.components.finetune_model.ranks import joined, torchrun

PROCESSES = 2


def test_the_norm_is_that_of_the_mean_gradient_and_a_step_without_a_finite_one_is_skipped() -> None:
    torchrun(__file__, PROCESSES)


def one_process() -> None:
    import deepspeed
    import torch
    import torch.distributed as dist

    from components.finetune_model.deepspeed_config import deepspeed_config
    from components.finetune_model.gradient_norm import in_one_pass
    from components.finetune_model.settings import TrainingSettings

    rank = dist.get_rank()
    for stage in (1, 2):
        settings = TrainingSettings(zero_stage=stage, max_grad_norm=1e-3)
        config = deepspeed_config(settings, bf16=True, on_gpu=False)
        sizes = {"train_batch_size": 2, "train_micro_batch_size_per_gpu": 1}
        model = torch.nn.Linear(5, 3)
        engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=torch.optim.SGD([{"params": [each]} for each in model.parameters()], lr=1.0),
            config={**config, **sizes, "gradient_accumulation_steps": 1},
        )
        in_one_pass(engine.optimizer)
        before = torch.cat([each.detach().float().flatten() for each in model.parameters()])
        # The gradients are 1 and 3, or 2 in the mean, in each of 15 weights and 3 biases.
        engine.backward((engine(torch.ones(1, 5, dtype=torch.bfloat16)) * (1 + 2 * rank)).sum())
        engine.step()
        norm = engine.get_global_grad_norm().item()
        torch.testing.assert_close(norm, 2 * 18**0.5, rtol=2**-8, atol=0)  # bf16's rounding
        masters = engine.optimizer.single_partition_of_fp32_groups
        whole = [torch.empty(PROCESSES * each.numel()) for each in masters]
        for each, partition in zip(whole, masters, strict=True):
            dist.all_gather_into_tensor(each, partition.detach())
        after = torch.cat([whole[0][:15], whole[1][:3]])
        torch.testing.assert_close((before - after).norm().item(), 1e-3, rtol=1e-2, atol=0)
        # Infinite on one process alone.
        scale = float("inf") if rank else 1.0
        engine.backward((engine(torch.ones(1, 5, dtype=torch.bfloat16)) * scale).sum())
        engine.step()
        assert engine.skipped_steps == 1
        for each, partition in zip(whole, masters, strict=True):
            kept = each.view(PROCESSES, -1)[rank]
            assert torch.equal(kept, partition)


if __name__ == "__main__":
    joined(one_process)
