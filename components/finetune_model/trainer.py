"""The Trainer with our batches and our loss, on any number of processes the same."""

import math
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader
from transformers import Trainer

from components.finetune_model.batches import GlobalBatches, TokenRows
from components.finetune_model.problem import losses
from components.finetune_model.settings import TrainingSettings
from components.finetune_model.throughput import Meter
from components.problem_types import ProblemType
from serving.errors import InputError

_NEVER = 1 << 62


class _EpochLoader(DataLoader[dict[str, Any]]):
    """Passes the epoch on to the batches, as the Trainer asks its loader to."""

    def set_epoch(self, epoch: int) -> None:
        assert isinstance(self.batch_sampler, GlobalBatches)
        self.batch_sampler.set_epoch(epoch)


class ClassifierTrainer(Trainer):
    """A Trainer of classifiers whose every step has the same rows on any number of processes."""

    def __init__(
        self,
        *,
        settings: TrainingSettings,
        problem: ProblemType,
        batches: GlobalBatches,
        class_weights: torch.Tensor | None,
        meter: Meter,
        **arguments: Any,
    ) -> None:
        """`class_weights` [C] are 1 on the average over the training rows."""
        super().__init__(**arguments)
        self._settings = settings
        self._problem = problem
        self._batches = batches
        self._class_weights = class_weights
        self._meter = meter
        self._first_bad_step = torch.tensor(_NEVER, device=self.args.device)

    def get_train_dataloader(self) -> DataLoader[dict[str, Any]]:
        assert isinstance(self.train_dataset, TokenRows)
        return _EpochLoader(
            self.train_dataset,
            batch_sampler=self._batches,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory and torch.cuda.is_available(),
        )

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The problem's loss in fp32, the mean over rows: training's with weights and smoothing.

        Dividing by the number of rows, not by the sum of their weights, makes it the same on any
        number of processes.
        """
        labels = inputs["labels"]
        logits = model(**{k: v for k, v in inputs.items() if k != "labels"}).logits.float()
        smoothing = self._settings.label_smoothing if model.training else 0.0
        each = losses(self._problem, logits, labels, smoothing)
        if self._class_weights is not None and model.training:
            each = each * self._class_weights.to(each.device)[labels]
        loss = each.mean()
        return (loss, {"logits": logits}) if return_outputs else loss

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        self._meter.count(len(inputs["labels"]), int(inputs["attention_mask"].sum()))
        loss = super().training_step(model, inputs, num_items_in_batch)
        # Kept on the device and looked at when something is logged or saved: no wait in each step.
        step = torch.where(torch.isfinite(loss), _NEVER, self.state.global_step + 1)
        self._first_bad_step = torch.minimum(self._first_bad_step, step)
        return loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Left to the meter: the Trainer would walk through all weights at each step."""
        return 0

    def _refuse_bad_loss(self) -> None:
        first = self._first_bad_step.clone()
        dist.all_reduce(first, dist.ReduceOp.MIN)
        if int(first) != _NEVER:
            raise InputError(
                f"the training loss became NaN or infinite at step {int(first)}. Lower "
                "training.learning_rate, raise training.warmup, or set training.precision to "
                "fp32. The last checkpoint from before that step is kept on S3."
            )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs.update(self._meter.rates(self.args.device))
        super().log(logs, start_time)

    def evaluate(self, *arguments: Any, **named: Any) -> dict[str, float]:
        with self._meter.paused():
            metrics: dict[str, float] = super().evaluate(*arguments, **named)
        if not math.isfinite(metrics["eval_loss"]):
            raise InputError(
                f"the validation loss is NaN or infinite at step {self.state.global_step}: the "
                "model's answer to some row overflows. Lower training.learning_rate, raise "
                "training.warmup, or set training.precision to fp32."
            )
        return metrics

    def _prepare_for_training(self, *arguments: Any, **named: Any) -> Any:
        prepared = super()._prepare_for_training(*arguments, **named)  # type: ignore[no-untyped-call]  # has no types
        from components.finetune_model.gradients import in_fewer_passes

        in_fewer_passes(self.deepspeed)
        return prepared
