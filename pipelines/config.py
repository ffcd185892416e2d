"""The run config: one YAML file, typed, with errors that name the line's key and the remedy."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from components.download_dataset.settings import DatasetSettings
from components.download_model.settings import ModelSettings
from components.export_model.settings import ExportSettings
from components.finetune_model.settings import TrainingSettings
from components.gate_model.settings import GateSettings
from components.notify_run.settings import NotificationSettings
from components.promote_model.settings import PromotionSettings
from components.promotions import model_uri
from components.report_run.settings import ReportSettings
from components.storage import split
from components.tokenize_dataset.settings import TokenizationSettings
from components.tracking.settings import MlflowSettings
from components.validate_dataset.settings import ValidationSettings
from pipelines import documents


class ClusterSettings(BaseModel):
    """Pods that train and score, on a cluster; a run on this machine takes no notice of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: str = "4"
    """Cores, as a Kubernetes quantity."""
    memory: str = "16Gi"
    gpus: int = Field(default=0, ge=0)
    """GPUs of the pod that trains."""
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, str | int]] = []


class RunConfig(BaseModel):
    """Everything that a run is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Name of the model and its endpoint: lower-case letters, digits, hyphens."""
    store: str | None = None
    """`s3://bucket/prefix` under which everything lies; unset is the embedded store's bucket."""
    dataset: DatasetSettings
    base_model: ModelSettings
    validation: ValidationSettings = ValidationSettings()
    tokenization: TokenizationSettings = TokenizationSettings()
    training: TrainingSettings = TrainingSettings()
    export: ExportSettings = ExportSettings()
    gate: GateSettings = GateSettings()
    report: ReportSettings = ReportSettings()
    promotion: PromotionSettings = PromotionSettings()
    notification: NotificationSettings = NotificationSettings()
    tracking: MlflowSettings | None = None
    """`mlflow`, or `{kind: mlflow, uri, experiment}`; unset tells no tracking server."""
    cluster: ClusterSettings = ClusterSettings()
    examples: list[str] = []
    """Texts to ask the endpoint at the end of a local run; unset takes two test rows."""

    @field_validator("name")
    @classmethod
    def _names_an_endpoint(cls, name: str) -> str:
        model_uri("s3://any", name)
        return name

    @field_validator("store")
    @classmethod
    def _is_on_s3(cls, store: str | None) -> str | None:
        if store is not None:
            split(store)
            return store.rstrip("/")
        return None

    @field_validator("gate")
    @classmethod
    def _bounds_what_is_looked_for(cls, gate: GateSettings, info: ValidationInfo) -> GateSettings:
        validation = info.data.get("validation")  # absent where it has mistakes of its own
        ignored = [name for name in gate.data if getattr(validation, name, None) == "ignore"]
        if ignored:
            raise ValueError(
                f"gate.data has a bound for {', '.join(ignored)}, which validation ignores, so "
                f"none would be found; set {', '.join(f'validation.{name}' for name in ignored)} "
                "to warn, or take the bound out"
            )
        return gate

    def arguments(self) -> dict[str, Any]:
        """The pipeline's arguments, as JSON values: only what was set, so defaults stay with
        the steps."""
        # kfp refuses None inside a structured parameter, so a check that is left out is false.
        sections = self.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        for check in ("champion", "serving"):
            if getattr(self.gate, check) is None:
                sections["gate"][check] = False
        pods = sections.pop("cluster", {})
        if "gpus" in pods:
            pods["gpus"] = str(pods["gpus"])  # the pipeline's parameter is a Kubernetes quantity
        if self.export.device == "gpu":
            pods["serving_gpus"] = "1"
        given = {key: value for key, value in sections.items() if key not in ("store", "examples")}
        return {**given, **pods}


def load(path: Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a YAML file and apply `key.path=value` overrides (values are YAML).

    Raises InputError for a file that is absent, no YAML, or does not fit the schema.
    """
    document = documents.read(path, "`ls configs` lists those that ship.")
    for override in overrides:
        documents.override(document, override)
    return documents.checked(RunConfig, document, str(path))
