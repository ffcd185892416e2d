"""A Trainer that writes checkpoints while it trains, and goes on from one when it was killed."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers.trainer_callback import ExportableState

from components.finetune_model.cadence import Cadence
from components.finetune_model.checkpoints import Uploads
from components.finetune_model.trainer import ClassifierTrainer

PROGRESS = "progress.json"
CURVES = "training.jsonl"
BEST = "best"


class CheckpointingTrainer(ClassifierTrainer):
    """A ClassifierTrainer that keeps its best weights and its newest checkpoints."""

    def __init__(self, *, work: Path, uploads: Uploads, **arguments: Any) -> None:
        """`work` is the folder of this machine's files; `arguments` are ClassifierTrainer's."""
        super().__init__(**arguments)
        self._work = work
        self.uploads = uploads
        self._cadence = Cadence(self._settings.checkpoint_minutes, self.args.device)
        self._carried: dict[str, Any] | None = None

    def _maybe_log_save_evaluate(self, *arguments: Any, **named: Any) -> None:
        self.control.should_save = self._checkpoint_is_due()
        if self.control.should_log or self.control.should_evaluate or self.control.should_save:
            self._refuse_bad_loss()
        super()._maybe_log_save_evaluate(*arguments, **named)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        best = super()._determine_best_metric(metrics, trial)
        if best:
            # transformers sets it only where it saves by itself.
            self.state.best_global_step = self.state.global_step
            self._save_best()
        return best

    def _save_best(self) -> None:
        fresh = self._work / f"{BEST}.new"
        self.save_model(str(fresh), _internal_call=True)
        if self.is_world_process_zero():
            (fresh / "training_args.bin").unlink()
            shutil.rmtree(self._work / BEST, ignore_errors=True)
            fresh.rename(self._work / BEST)

    def _checkpoint_is_due(self) -> bool:
        step = self.state.global_step
        if step >= self.state.max_steps or self.control.should_training_stop:
            return False  # the result follows
        return self._cadence.due(step, busy=self.uploads.busy)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write `checkpoint-<step>` whole, then hand it to the upload, which runs beside us."""
        step = self.state.global_step
        if self.control.should_training_stop:  # by this step's evaluation: the result follows
            return
        folder = self._work / f"checkpoint-{step}"
        self._refuse_bad_weights(step)
        self._save_optimizer_and_scheduler(str(folder))
        self._save_rng_state(str(folder))
        loss = self._tr_loss.detach().clone().float()
        dist.all_reduce(loss)
        if self.is_world_process_zero():
            states: Any = self.state.stateful_callbacks  # by class name, whatever its type says
            for each in [*self.callback_handler.callbacks, self.control]:
                if isinstance(each, ExportableState):
                    states[type(each).__name__] = each.state()
            self.state.save_to_json(str(folder / "trainer_state.json"))
            carried = {
                "loss_sum": loss.item() / self.args.world_size,
                "last_logged": self._globalstep_last_logged,
            }
            (folder / PROGRESS).write_text(json.dumps(carried))
            shutil.copy(self._work / CURVES, folder / CURVES)
            if (self._work / BEST).is_dir():  # hard links: the best weights are never rewritten
                shutil.copytree(self._work / BEST, folder / BEST, copy_function=os.link)
        dist.barrier()
        if self.is_local_process_zero():
            self.uploads.start(folder, step, lambda: shutil.rmtree(folder))

    def _refuse_bad_weights(self, step: int) -> None:
        # A finite loss with an infinite gradient leaves weights that the next loss would tell of.
        engine: Any = self.deepspeed
        weights = getattr(engine.optimizer, "fp32_partitioned_groups_flat", None)  # ZeRO-3
        if weights is None:
            groups = engine.optimizer.param_groups
            weights = [weight for group in groups for weight in group["params"]]
        finite = all(bool(torch.isfinite(weight).all()) for weight in weights)
        bad = torch.tensor(int(not finite), device=self.args.device)
        dist.all_reduce(bad, dist.ReduceOp.MAX)
        if int(bad):
            self._first_bad_step.fill_(min(int(self._first_bad_step), step + 1))
            self._refuse_bad_loss()

    def resume(self, folder: Path) -> None:
        """Train on from a checkpoint's folder."""
        self._carried = json.loads((folder / PROGRESS).read_text())
        self.train(resume_from_checkpoint=str(folder))

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model)
        # DeepSpeed drops empty groups: of adapters, none is a bias or a norm.
        groups = [group for group in optimizer.param_groups if group["params"]]
        self._decays = [group["weight_decay"] for group in groups]
        return optimizer

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if self._settings.zero_stage == 3:
            # DeepSpeed 0.19 gives all groups the settings of the first one when it loads a
            # universal ZeRO-3 checkpoint, and one step tensor, which each group then advances.
            engine: Any = self.deepspeed
            optimizer = engine.optimizer.optimizer
            for group, decay in zip(optimizer.param_groups, self._decays, strict=True):
                group["weight_decay"] = decay
            for state in optimizer.state.values():
                state["step"] = torch.as_tensor(state["step"]).clone()

    def _run_epoch(self, *arguments: Any, **named: Any) -> None:
        if self._carried is not None:  # what the loss had summed up since it was last logged
            self._tr_loss += self._carried["loss_sum"]
            self._globalstep_last_logged = self._carried["last_logged"]
            self._carried = None
        super()._run_epoch(*arguments, **named)  # type: ignore[no-untyped-call]  # transformers' own

    def free(self) -> None:
        """Let go of model and optimizer: process 0 needs the memory for the result."""
        del self.model, self.model_wrapped, self.deepspeed, self.optimizer
        self.accelerator.free_memory()
