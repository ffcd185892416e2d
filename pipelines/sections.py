"""Single sections of a run config, for commands that need no whole one."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from components.promote_model.settings import PromotionSettings
from components.tracking.settings import MlflowSettings
from pipelines import documents

Settings = TypeVar("Settings", bound=BaseModel)


def section(kind: type[Settings], config: Path | None, name: str) -> Settings:
    """The section of a run config, whose other sections may be absent; defaults without one."""
    return _given(kind, config, name) or kind()


def target(config: Path | None, state: Path) -> PromotionSettings:
    """The config's promotion, or this machine's endpoint."""
    from pipelines.local import promotion_settings

    if config is None:
        return promotion_settings(state)
    return section(PromotionSettings, config, "promotion")


def followed(config: Path | None, store: str, name: str) -> None:
    """Let the tracking server follow the promotion log, where the config names one."""
    tracking = _given(MlflowSettings, config, "tracking")
    if tracking is not None:
        from components.tracking.mlflow import follow

        follow(store, name, tracking)


def _given(kind: type[Settings], config: Path | None, name: str) -> Settings | None:
    if config is None:
        return None
    document = documents.read(config, "`ls configs` lists those that ship.").get(name)
    return documents.checked(kind, document, f"{config}: {name}") if document else None
