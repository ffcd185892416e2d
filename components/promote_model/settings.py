"""Where a promoted release is to answer."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class LocalTarget(BaseModel):
    """A KServe ModelServer process on this machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["local"] = "local"
    state: str
    """Folder that keeps the endpoint's releases, process record and log."""
    port: int = Field(default=0, ge=0, le=65535)
    """HTTP port; 0 keeps the one it had, or takes a free one."""


class KServeTarget(BaseModel):
    """An InferenceService on a cluster, whose storageUri a promotion sets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["kserve"] = "kserve"
    namespace: str
    service: str
    seconds: int = Field(default=1800, gt=0)
    """How long the new revision may take to become ready."""


class LogOnly(BaseModel):
    """Nothing but the promotion log: another system follows it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["log"] = "log"


Target = Annotated[LocalTarget | KServeTarget | LogOnly, Field(discriminator="kind")]


class PromotionSettings(BaseModel):
    """Settings of promote_model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: Target = LogOnly()
