"""The DeepSpeed config, by ZeRO stage; `auto` where the Trainer knows better."""

from typing import Any

from components.finetune_model.settings import TrainingSettings


def deepspeed_config(
    settings: TrainingSettings, *, bf16: bool, on_gpu: bool, universal: bool = False
) -> dict[str, Any]:
    """A DeepSpeed config (deepspeed.ai/docs/config-json) for the Trainer's `deepspeed` argument.

    It has no optimizer section: DeepSpeed's own AdamW would be compiled at the start, which takes
    over a minute; the Trainer's torch AdamW needs `zero_allow_untested_optimizer`, and with
    offload `zero_force_ds_cpu_optimizer` off. `universal` resumes from a universal checkpoint.
    """
    zero: dict[str, Any] = {"stage": settings.zero_stage}
    if settings.zero_stage in (1, 2) and not on_gpu:
        # DeepSpeed 0.19 sums the whole bucket for either value, and copies it twice for true. It
        # allocates the bucket in each step, a GB by default, whose pages are faulted in anew.
        zero |= {"reduce_scatter": False, "reduce_bucket_size": 1 << 22}
    if settings.zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if settings.offload:
        zero["offload_optimizer"] = {"device": "cpu"}
        if settings.zero_stage == 3:
            zero["offload_param"] = {"device": "cpu"}
    config: dict[str, Any] = {
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": bf16},
        "gradient_clipping": settings.max_grad_norm,
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "steps_per_print": 1_000_000,  # the Trainer logs; DeepSpeed's own lines would double it
    }
    if universal:
        config["checkpoint"] = {"load_universal": True}
    return config
