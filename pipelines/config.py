"""The run config: one YAML file, typed, with errors that name the line's key and the remedy."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

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
from serving.errors import InputError


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

    def arguments(self) -> dict[str, Any]:
        """The pipeline's arguments, as JSON values: only what was set, so defaults stay with
        the steps."""
        # kfp refuses None inside a structured parameter.
        sections = self.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        pods = sections.pop("cluster", {})
        if "gpus" in pods:
            pods["gpus"] = str(pods["gpus"])  # the pipeline's parameter is a Kubernetes quantity
        given = {key: value for key, value in sections.items() if key not in ("store", "examples")}
        return {**given, **pods}


def load(path: Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a YAML file and apply `key.path=value` overrides (values are YAML).

    Raises InputError for a file that is absent, no YAML, or does not fit the schema.
    """
    if not path.is_file():
        raise InputError(f"there is no config file {path}. `ls configs` lists those that ship.")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {error}. Mend it there.") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} holds no mapping at its top; it needs name:, dataset: and so on.")
    for override in overrides:
        _apply(document, override)
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        raise InputError(f"{path}: " + "; ".join(_explain(error, document))) from error


def _apply(document: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise InputError(f"--set {override!r} is not key=value, as training.epochs=2 is.")
    *parents, last = key.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
        if not isinstance(document, dict):
            raise InputError(f"--set {override!r}: {parent} is no mapping in the config.")
    try:
        document[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--set {override!r}: the value is not YAML ({error}).") from error


def _explain(error: ValidationError, document: dict[str, Any]) -> list[str]:
    sentences = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = _known_keys(problem["loc"][:-1])
            near = get_close_matches(str(problem["loc"][-1]), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}."
            sentences.append(f"unknown key {place}; {hint}")
        elif problem["type"] == "missing":
            sentences.append(f"{place} is missing; add it.")
        else:
            given = "" if isinstance(problem["input"], dict) else f" (given: {problem['input']!r})"
            sentences.append(f"{place}: {problem['msg']}{given}.")
    return sentences


def _known_keys(place: tuple[int | str, ...]) -> list[str]:
    """Keys that the section at `place` takes."""
    section: Any = RunConfig
    for part in place:
        field = getattr(section, "model_fields", {}).get(part)
        candidates = [] if field is None else [field.annotation, *_arguments(field.annotation)]
        section = next(
            (c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None
        )
    return sorted(getattr(section, "model_fields", {}))


def _arguments(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", ())
