"""The files that make up a dataset, each with what the config says of all its rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from components.download_dataset.settings import DatasetSettings, Member
from components.sources import archives
from components.sources.files import Place, SourceFile, is_folder, matching
from components.sources.settings import PyPISource


@dataclass(frozen=True)
class Part:
    """One file of rows: where it lies, and the label and split that its rows share, if any."""

    file: SourceFile
    inside: Sequence[str]
    """Member path through archives within archives; empty for the file itself."""
    label: str | None
    split: str | None

    @property
    def name(self) -> str:
        """The file name, by which findings name its rows."""
        return PurePosixPath(self.inside[-1]).name if self.inside else self.file.name

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the rows; the name is in it, since its suffix tells the format."""
        split = {"split": self.split} if self.split else {}
        return {"name": self.name, **split, **self.file.identity}

    def path(self, scratch: Path) -> Path:
        """The file of rows on this machine, unpacked."""
        path = archives.extract(self.file.path, self.inside, scratch)
        return archives.decompressed(path, scratch)


def parts(settings: DatasetSettings, scratch: Path, step: str) -> list[Part]:
    """The dataset's files in the order of the config, those of a pattern sorted."""
    opened: dict[Place, SourceFile] = {}  # an archive with several parts is moved once
    found = []
    for split, place in _places(settings):
        for member in _members(settings):
            for at, inside in _located(place, member.path if member else []):
                if at not in opened:
                    opened[at] = SourceFile(at, scratch, step, settings.sha256)
                label = member.label if member else None
                held = (member.split if member else None) or split
                found.append(Part(opened[at], inside, label, held))
    return found


def _places(settings: DatasetSettings) -> list[tuple[str | None, Place]]:
    place = settings.path or settings.url or settings.s3 or settings.pypi
    assert place is not None  # one source, checked by the settings; a hub dataset has no files
    return [*place.items()] if isinstance(place, dict) else [(None, place)]


def _members(settings: DatasetSettings) -> Sequence[Member | None]:
    if settings.member is not None:
        return [Member(path=settings.member)]
    return settings.members or [None]


def _located(place: Place, inside: Sequence[str]) -> list[tuple[Place, Sequence[str]]]:
    if isinstance(place, PyPISource):
        return [(place, inside)]
    if inside and is_folder(place):
        place, inside = f"{place.rstrip('/')}/{inside[0]}", inside[1:]
    return [(each, inside) for each in matching(place)]
