"""Single sections of a run config, for commands that need no whole one."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from components.promote_model.settings import PromotionSettings
from components.tracking.settings import MlflowSettings
from pipelines import documents
from serving.errors import InputError

Settings = TypeVar("Settings", bound=BaseModel)


class _Store(BaseModel):
    store: str | None = None


@dataclass(frozen=True)
class Sections:
    """What a run config says, or overrides alone; nothing where neither was given."""

    document: dict[str, Any] | None
    title: str
    """How messages call it."""

    def get(self, kind: type[Settings], name: str) -> Settings | None:
        """One section; the others may be absent."""
        given = (self.document or {}).get(name)
        return documents.checked(kind, given, f"{self.title}: {name}") if given else None

    def store(self, given: str | None) -> str | None:
        """The store `given`, else the config's; None is the embedded one."""
        return given or documents.checked(_Store, self.document or {}, self.title).store

    def target(self, state: Path) -> PromotionSettings:
        """The config's promotion, or without a config this machine's endpoint.

        Raises InputError for a config that names no target: a champion that nothing rolls out
        would stand in the log while another release answers.
        """
        from pipelines.local import promotion_settings

        if self.document is None:
            return promotion_settings(state)
        found = self.get(PromotionSettings, "promotion")
        if found is None:
            raise InputError(
                f"{self.title} has no promotion.target, so where the release is to answer is not "
                "told. Give what the model's schedule gives, such as --set 'promotion.target="
                "{kind: kserve, namespace: finegate, service: NAME}', or {kind: log} to write the "
                "log alone; without --config and --set it is this machine's endpoint."
            )
        return found

    def follow(self, store: str, name: str) -> None:
        """Let the tracking server follow the promotion log, where the config names one."""
        tracking = self.get(MlflowSettings, "tracking")
        if tracking is not None:
            from components.tracking.mlflow import follow

            follow(store, name, tracking)


def read(config: Path | None, overrides: Iterable[str] | None = None) -> Sections:
    """Read a run config, if there is one, and apply `key.path=value` overrides.

    Raises InputError for a file that is absent or no YAML, or an override that is none.
    """
    if config is None and not overrides:
        return Sections(None, "")
    document = {}
    if config is not None:
        document = documents.read(config, "`ls configs` lists those that ship.")
    for override in overrides or []:
        documents.override(document, override)
    return Sections(document, str(config or "--set"))
