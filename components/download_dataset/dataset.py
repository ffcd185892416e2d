"""Any source in, `datasets/<fingerprint>/rows.parquet` out."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components import folders
from components.console import say
from components.download_dataset.settings import DatasetSettings, Member
from components.fingerprint import fingerprint
from components.sources import files
from serving.errors import InputError

STEP = "download_dataset"
SOURCE_FIELDS = {"hub", "path", "url", "s3", "pypi", "sha256"}


def download(store: str, settings: DatasetSettings) -> str:
    """Write the dataset's rows to S3; returns the address of their folder.

    Columns: row int64 (the line or row in the source), file, text, label, split and, for pairs,
    text_pair, all strings or null. Raises InputError for a source that cannot be read as told.
    """
    source = _identity(settings)
    identity = fingerprint(
        {
            "source": source,
            "settings": settings.model_dump(
                mode="json", exclude=SOURCE_FIELDS, exclude_defaults=True
            ),
        },
        code=["components.download_dataset", "components.sources"],
        libraries=["pyarrow"],
    )
    uri = f"{store}/datasets/{identity}"
    if folders.manifest_of(uri) is not None:
        say(STEP, f"cached: {uri} (same source, same settings)")
        return uri
    from components.download_dataset.rows import Rows, write

    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "target"
        target.mkdir()
        rows = Rows(settings)
        every = _hub(settings, rows) if settings.hub else _files(settings, rows, Path(scratch))
        count = write(every, target / "rows.parquet", settings)
        if count == 0:
            raise InputError(
                f"the dataset is empty: {source} gave no rows ({rows.left_out} were left out by "
                "dataset.label_bins). Check the source and the settings."
            )
        facts = {
            "kind": "dataset",
            "fingerprint": identity,
            "source": source,
            "rows": count,
            "left_out": rows.left_out,
            "labels": settings.label_order() or sorted(rows.labels),
        }
        folders.publish(target, uri, facts)
    out = f", {rows.left_out} left out by label_bins" if rows.left_out else ""
    say(STEP, f"{count} rows{out}: {uri}")
    return uri


def _identity(settings: DatasetSettings) -> dict[str, Any]:
    if settings.hub is not None:
        from components.sources.hub import dataset_commit

        return {**settings.hub.model_dump(), "revision": dataset_commit(settings.hub)}
    if settings.pypi is not None:
        return files.identity(settings.pypi)
    return {
        split or "all": files.identity(place, settings.sha256) for split, place in _places(settings)
    }


def _places(settings: DatasetSettings) -> list[tuple[str | None, str]]:
    """The source's files with the split that each holds."""
    places = settings.path or settings.url or settings.s3
    assert places is not None  # exactly one source, checked by the settings
    return [(None, places)] if isinstance(places, str) else list(places.items())


def _files(settings: DatasetSettings, rows: Any, scratch: Path) -> Iterator[dict[str, Any]]:
    from components.download_dataset.readers import read
    from components.sources.archives import decompressed, extract

    sources: list[tuple[str | None, files.Source]] = (
        [(None, settings.pypi)] if settings.pypi else [*_places(settings)]
    )
    for split, source in sources:
        archive = files.fetch(source, scratch, STEP, settings.sha256)
        parts: list[Member | None] = [*settings.members] or [
            Member(path=settings.member) if settings.member else None
        ]
        for part in parts:
            path = extract(archive, part.path, scratch) if part else archive
            name = Path(part.path[-1]).name if part else files.name_of(source)
            path = decompressed(path, scratch)
            held = (part.split if part else None) or split
            yield from rows.of_file(read(path, settings), name, part, held)


def _hub(settings: DatasetSettings, rows: Any) -> Iterator[dict[str, Any]]:
    from components.sources.hub import dataset_rows

    assert settings.hub is not None
    for split, numbered in dataset_rows(settings.hub):
        yield from rows.of_file(numbered, f"{settings.hub.id}/{split}", None, split)
