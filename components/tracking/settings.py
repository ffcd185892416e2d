"""Which tracking server follows runs and promotions."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator


class MlflowSettings(BaseModel):
    """An MLflow server; `tracking: mlflow` alone takes every default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["mlflow"]
    uri: str = ""
    """Address of the server; unset is MLFLOW_TRACKING_URI. Credentials are in MLflow's own
    variables."""
    experiment: str = ""
    """Unset is the model's name."""

    @model_validator(mode="before")
    @classmethod
    def _may_be_its_kind_alone(cls, given: Any) -> Any:
        return {"kind": given} if isinstance(given, str) else given
