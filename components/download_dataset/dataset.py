"""Any source in, `datasets/<fingerprint>/rows.parquet` out."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components import folders
from components.console import say
from components.download_dataset.parts import Part, parts
from components.download_dataset.settings import DatasetSettings
from components.fingerprint import fingerprint
from components.workspace import workspace
from serving.errors import InputError

STEP = "download_dataset"
_SOURCE_FIELDS = {"hub", "path", "url", "s3", "pypi", "sha256"}


def download(store: str, settings: DatasetSettings) -> str:
    """Write the dataset's rows to S3; returns the address of their folder.

    Columns: row int64 (the line or row in the source), file, text, label (a string, a list of
    strings, or a double, by problem type), split and, where named, text_pair and group; null where
    the source has nothing. Raises InputError for a source that cannot be read as told.
    """
    work = settings.model_dump(mode="json", exclude_defaults=True)
    with workspace(STEP, fingerprint(work, code=[], libraries=[])) as scratch:
        files = [] if settings.hub else parts(settings, scratch, STEP)
        source = [part.identity for part in files] or [_hub_identity(settings)]
        identity = fingerprint(
            {
                "source": source,
                "settings": settings.model_dump(
                    mode="json", exclude=_SOURCE_FIELDS, exclude_defaults=True
                ),
            },
            code=["components.download_dataset", "components.label_names", "components.sources"],
            libraries=["pyarrow", "datasets"] if settings.hub else ["pyarrow"],
        )
        uri = f"{store}/datasets/{identity}"
        if folders.cached(uri, STEP, "same source, same settings"):
            return uri
        target = scratch / "target"
        target.mkdir(exist_ok=True)
        counts = _write(settings, source, files, target)
        facts = {"kind": "dataset", "fingerprint": identity, "source": source, **counts}
        folders.publish(target, uri, facts)
    out = f", {counts['left_out']} left out by label_bins" if counts["left_out"] else ""
    say(STEP, f"{counts['rows']} rows{out}: {uri}")
    return uri


def _hub_identity(settings: DatasetSettings) -> dict[str, Any]:
    from components.sources.hub import commit_of

    assert settings.hub is not None  # the one source without files
    return {**settings.hub.model_dump(), "revision": commit_of("dataset", settings.hub)}


def _write(
    settings: DatasetSettings, source: list[dict[str, Any]], files: list[Part], target: Path
) -> dict[str, Any]:
    """Write rows.parquet; returns what the manifest says of the rows."""
    # Here and not above: a cache hit needs neither pyarrow nor datasets.
    from components.download_dataset.readers import read
    from components.download_dataset.rows import Rows, write

    rows = Rows(settings)

    def every() -> Iterator[dict[str, Any]]:
        if settings.hub is not None:
            from components.sources.hub import dataset_rows

            say(STEP, f"downloading {settings.hub.id} at {source[0]['revision']}")
            for split, numbered in dataset_rows(settings.hub, source[0]["revision"]):
                yield from rows.of_file(numbered, f"{settings.hub.id}/{split}", None, split)
        for part in files:
            wanted = settings.wanted_columns(labelled=part.label is not None)
            with tempfile.TemporaryDirectory() as scratch:
                read_rows = read(part.path(Path(scratch)), settings, wanted)
                yield from rows.of_file(read_rows, part.name, part.label, part.split)

    count = write(every(), target / "rows.parquet", settings)
    if count == 0:
        names = ", ".join(str(each.get("name", each.get("id"))) for each in source)
        raise InputError(
            f"the dataset is empty: {names} gave no rows ({rows.left_out} were left out by "
            "dataset.label_bins). Check the source and the settings."
        )
    labels = settings.label_order() or sorted(rows.labels)
    return {
        "rows": count,
        "left_out": rows.left_out,
        "problem_type": settings.problem_type,
        "labels": labels,
    }
