"""Where a promoted release is to answer, and how carefully it gets there."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class LocalTarget(BaseModel):
    """A KServe ModelServer process on this machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["local"] = "local"
    state: str
    """Folder that keeps the endpoint's releases, process record and log."""
    port: int = Field(default=0, ge=0, le=65535)
    """HTTP port; 0 keeps the one it had, or takes a free one."""


class Prometheus(BaseModel):
    """What the predictors' own metrics must say at each step of a canary.

    The queries are PromQL; `$namespace` and `$pods` (a regular expression of the canary's pods)
    are filled in. A query without data, as without traffic, passes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    """Such as `http://prometheus.monitoring:9090`."""
    errors: str = (
        'sum(rate(finegate_requests_total{namespace="$namespace",pod=~"$pods",'
        'outcome="failed"}[1m])) / '
        'sum(rate(finegate_requests_total{namespace="$namespace",pod=~"$pods"}[1m]))'
    )
    """Share of requests that failed."""
    p99: str = (
        "1000 * histogram_quantile(0.99, sum by (le) (rate(finegate_request_seconds_bucket"
        '{namespace="$namespace",pod=~"$pods"}[1m])))'
    )
    """99th percentile of the latency in ms."""
    max_errors: float = Field(default=0.01, ge=0, le=1)
    max_p99_ms: float = Field(default=1000, gt=0)


class Canary(BaseModel):
    """Traffic in steps; each must prove the release, else the version before comes back."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: tuple[int, ...] = (10, 50, 100)
    """Percent of the traffic, rising to 100."""
    pause: int = Field(default=60, ge=0)
    """Seconds that a step is watched before it is judged."""
    rows: int = Field(default=16, ge=1, le=64)
    """Golden rows of the evaluation that the new version must answer at each step."""
    tolerance: float = Field(default=1e-3, gt=0)
    """Largest difference of a probability from the evaluation's."""
    p99_ms: float = Field(default=1000, gt=0)
    """99th percentile of the latency of these requests."""
    prometheus: Prometheus | None = None

    @field_validator("steps")
    @classmethod
    def _rise_to_all(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if not steps or steps[-1] != 100 or steps[0] < 1 or list(steps) != sorted(set(steps)):
            raise ValueError("steps must rise from at least 1 to 100, as [10, 50, 100] does")
        return steps


class KServeTarget(BaseModel):
    """An InferenceService on a cluster, whose storageUri a promotion sets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["kserve"] = "kserve"
    namespace: str
    service: str
    seconds: int = Field(default=1800, gt=0)
    """How long the new version, or a step of a canary, may take to become ready."""
    canary: Canary | None = None
    """Unset rolls out at once, as soon as the new version is ready."""
    create: dict[str, Any] | None = None
    """The service's manifest, from which it is created where none stands; in a run config the path
    of its YAML file, such as k8s/base/inference-service.yaml. Unset creates nothing."""
    gateway: str = ""
    """Where a canary is asked when the service's own URL cannot be reached from here, as
    `http://istio-ingressgateway.istio-system`; the URL's host goes into the Host header."""

    @field_validator("create", mode="before")
    @classmethod
    def _read_manifest(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        import yaml  # not in every image that reads these settings

        try:
            return yaml.safe_load(Path(given).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise ValueError(f"{given} cannot be read as a manifest ({error})") from error

    @model_validator(mode="after")
    def _creates_the_service(self) -> "KServeTarget":
        if self.create is None:
            return self
        kind, metadata = self.create.get("kind"), self.create.get("metadata") or {}
        if kind != "InferenceService" or metadata.get("name") != self.service:
            raise ValueError(
                f"create names a manifest of {kind} {metadata.get('name')}; it must be that of "
                f"the InferenceService {self.service}"
            )
        if "model" not in ((self.create.get("spec") or {}).get("predictor") or {}):
            raise ValueError("create names a manifest without spec.predictor.model")
        return self


class LogOnly(BaseModel):
    """Nothing but the promotion log: another system follows it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["log"] = "log"


Target = Annotated[LocalTarget | KServeTarget | LogOnly, Field(discriminator="kind")]


class PromotionSettings(BaseModel):
    """Settings of promote_model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: Target = LogOnly()
