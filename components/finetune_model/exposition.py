"""Training as Prometheus sees it while it runs: a port of process 0."""

from typing import Any

from prometheus_client import CollectorRegistry, Gauge, start_http_server
from transformers import TrainerCallback, TrainerState

from components.console import say

STEP = "finetune_model"
GIB = 1 << 30

GAUGES = {
    "loss": ("loss", "Mean over the rows since the last point.", 1),
    "learning_rate": ("learning_rate", "Of the next step.", 1),
    "grad_norm": ("gradient_norm", "Before clipping.", 1),
    "rows_per_second": ("rows_per_second", "Of all processes together.", 1),
    "tokens_per_second": ("tokens_per_second", "Of all processes together, without padding.", 1),
    "memory_gib": ("memory_bytes", "Peak of process 0: of its GPU, else of the process.", GIB),
    "mfu": ("mfu_ratio", "Share of the GPUs' dense bf16 peak; a CPU has none.", 1),
}
"""What the Trainer logs: the series after `finegate_training_`, what it is, its factor."""
VALIDATION = {"eval_loss": "loss", "eval_accuracy": "accuracy", "eval_macro_f1": "macro_f1"}


class Exposition(TrainerCallback):
    """Serves `/metrics` from the first step until the process ends, also while the result is
    published: the last values are still scraped. A port that is in use is told, and training goes
    on without."""

    def __init__(self, port: int, training: str) -> None:
        """Every series has the label `training`, the head of the training's fingerprint."""
        self._port = port
        self._registry = CollectorRegistry()
        self._training = training
        self._gauges = {
            key: (self._gauge(name, told), factor) for key, (name, told, factor) in GAUGES.items()
        }
        self._step = self._gauge("step", "Optimizer steps that are done.")
        self._steps = self._gauge("steps", "Optimizer steps in all.")
        self._validation = self._gauge("validation", "Scores of the last evaluation.", "metric")

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **named: Any) -> None:
        if not state.is_world_process_zero:
            return
        self._progress(state)
        try:
            start_http_server(self._port, registry=self._registry)
        except OSError as error:
            say(STEP, f"no metrics at port {self._port}, which cannot be had ({error.strerror})")

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **named: Any) -> None:
        self._progress(state)

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: Any,
        logs: dict[str, float] | None = None,
        **named: Any,
    ) -> None:
        for key, value in (logs or {}).items():
            if key in self._gauges:
                gauge, factor = self._gauges[key]
                gauge.labels(self._training).set(value * factor)
            elif key in VALIDATION:
                self._validation.labels(self._training, VALIDATION[key]).set(value)

    def _progress(self, state: TrainerState) -> None:
        self._step.labels(self._training).set(state.global_step)
        self._steps.labels(self._training).set(state.max_steps)

    def _gauge(self, name: str, told: str, *labels: str) -> Gauge:
        return Gauge(
            f"finegate_training_{name}", told, ["training", *labels], registry=self._registry
        )
