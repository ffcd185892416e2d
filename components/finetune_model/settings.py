"""Hyperparameters of fine-tuning, checked before anything starts."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

QUANTITY = r"^\d+(\.\d+)?([KMGTPE]i|[numkMGTPE])?$"
"""Of cores, bytes or devices, as Kubernetes writes it."""


class LoraSettings(BaseModel):
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685) on every linear layer of the body."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, gt=0)
    """Adapters are scaled by `alpha / rank`."""
    dropout: float = Field(default=0.0, ge=0, lt=1)


class ClusterSettings(BaseModel):
    """Where a Kubeflow Trainer v2 TrainJob runs the training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: str
    runtime: str = "finegate"
    """The runtime whose pods train; `finegate` is that of k8s/training."""
    runtime_kind: Literal["ClusterTrainingRuntime", "TrainingRuntime"] = "TrainingRuntime"
    """`TrainingRuntime` is one in the job's namespace, as `finegate` is."""
    image: str | None = None
    """finegate's trainer, for a runtime that brings another image, as Trainer's own
    `torch-distributed` does; unset takes the runtime's."""
    nodes: int = Field(default=1, ge=1)
    processes_per_node: int = Field(default=1, ge=1)
    """One a GPU."""
    resources: dict[str, Annotated[str, Field(pattern=QUANTITY)]] = {}
    """Of a node, such as `nvidia.com/gpu: "8"`; requests and limits alike."""
    secret: str | None = None
    """A Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if they are temporary,
    AWS_SESSION_TOKEN; unset leaves them to the pod's role."""


class TrainingSettings(BaseModel):
    """Settings of finetune_model."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: float = Field(default=3.0, gt=0)
    learning_rate: float = Field(default=5e-5, gt=0, lt=1)
    batch_size: int = Field(default=32, ge=1)
    """Rows in one optimizer step over all processes, so that the number of GPUs does not change
    the result."""
    rows_per_device: int = Field(default=32, ge=1)
    """Rows that one device takes at once; what is missing to `batch_size` is accumulated."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Fraction of the steps over which the learning rate rises."""
    weight_decay: float = Field(default=0.01, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced` weighs a row by rows / (classes * rows of its class), so that each class counts
    as much as any other."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    evaluations: int = Field(default=4, ge=1)
    """Times the validation split is scored, evenly over the run; the best score's weights win."""
    best_metric: Literal["accuracy", "macro_f1", "loss"] | None = None
    """Unset is macro_f1, and loss for a regression."""
    early_stopping: int | None = Field(default=None, ge=1)
    """Stop after this many evaluations in a row without a better score."""
    head: Literal["linear", "mlp"] | None = None
    """`linear` starts only the last layer anew, `mlp` the hidden layer before it too; unset starts
    what the base model does not bring for as many labels."""
    frozen_layers: int = Field(default=0, ge=0)
    """Keep the embeddings and this many layers, counted from the input, as the base model has
    them."""
    lora: LoraSettings | None = None
    """Train adapters and merge them into the weights at the end."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, for a second forward pass."""
    seed: int = 42
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 where the hardware computes in it."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """DeepSpeed ZeRO: 0 shards nothing, 1 optimizer states, 2 gradients too, 3 weights too."""
    offload: bool = False
    """Keep the optimizer's states (ZeRO-3: the weights too) in the machine's memory."""
    processes: int | None = Field(default=None, ge=1)
    """Processes on this machine; unset is one a GPU, and two on a machine without."""
    cluster: ClusterSettings | None = None
    """Train in a TrainJob on many machines instead of in the step's own pod."""
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    """Training time between two checkpoints: about what a lost node costs."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Complete checkpoints that stay on S3 while training runs."""
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Port at which process 0 tells Prometheus of the training; k8s/monitoring expects 9108."""

    @model_validator(mode="after")
    def _fits_together(self) -> "TrainingSettings":
        if self.offload and self.zero_stage == 0:
            raise ValueError("offload needs zero_stage 1, 2 or 3: ZeRO-0 has nothing to move")
        if self.lora is not None and self.frozen_layers:
            raise ValueError(
                f"frozen_layers is {self.frozen_layers}, but lora trains adapters on all layers "
                "and none of the base model's own weights; leave one of the two out"
            )
        if self.early_stopping is not None and self.early_stopping >= self.evaluations:
            raise ValueError(
                f"early_stopping is {self.early_stopping}, but there are {self.evaluations} "
                "evaluations, so it could never act; raise evaluations above it"
            )
        if self.cluster is not None:
            count = self.cluster.nodes * self.cluster.processes_per_node
            if self.batch_size % count:
                raise ValueError(
                    f"batch_size is {self.batch_size}, which {count} processes of the cluster "
                    f"cannot share evenly; set it to a multiple of {count}"
                )
        return self

    def identity(self) -> dict[str, Any]:
        """What decides the result: on how many devices, how often it was saved and who watched
        does not."""
        return self.model_dump(
            exclude={
                "checkpoint_minutes",
                "cluster",
                "keep_checkpoints",
                "metrics_port",
                "processes",
                "rows_per_device",
            }
        )
