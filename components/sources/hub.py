"""Datasets and models of the Hugging Face hub (HF_ENDPOINT names another), by commit."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from components.sources.settings import HubDatasetSource, HubModelSource
from serving.errors import InputError

_FAILURES = (HfHubHTTPError, LocalEntryNotFoundError, httpx2.HTTPError, OSError, ValueError)


def dataset_commit(source: HubDatasetSource) -> str:
    """The commit that the revision names."""
    try:
        return str(HfApi().dataset_info(source.id, revision=source.revision).sha)
    except _FAILURES as error:
        raise _explained("dataset", source.id, source.revision, error) from error


def model_commit(source: HubModelSource) -> str:
    """The commit that the revision names."""
    try:
        return str(HfApi().model_info(source.id, revision=source.revision).sha)
    except _FAILURES as error:
        raise _explained("model", source.id, source.revision, error) from error


def dataset_rows(
    source: HubDatasetSource,
) -> Iterator[tuple[str, Iterator[tuple[int, dict[str, Any]]]]]:
    """Our split's name and its numbered rows; a ClassLabel column gives its names."""
    from datasets import ClassLabel, load_dataset

    for split, theirs in source.splits.items():
        try:
            data = load_dataset(
                source.id, source.config, split=theirs, revision=dataset_commit(source)
            )
        except _FAILURES as error:
            raise _explained("dataset", source.id, source.revision, error) from error
        named = {
            column: feature
            for column, feature in data.features.items()
            if isinstance(feature, ClassLabel)
        }

        def numbered(data: Any = data, named: Any = named) -> Iterator[tuple[int, dict[str, Any]]]:
            for number, row in enumerate(data, 1):
                yield (
                    number,
                    {c: named[c].int2str(v) if c in named else v for c, v in row.items()},
                )

        yield split, numbered()


def fetch_model(source: HubModelSource, commit: str, patterns: Sequence[str], folder: Path) -> None:
    """Download the model's files that match `patterns` to `folder`."""
    try:
        snapshot_download(
            source.id, revision=commit, allow_patterns=list(patterns), local_dir=str(folder)
        )
    except _FAILURES as error:
        raise _explained("model", source.id, source.revision, error) from error


def _explained(kind: str, name: str, revision: str, error: Exception) -> InputError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403, 404):
        return InputError(
            f"the hub has no {kind} {name!r} at revision {revision!r}, or it is private "
            f"(status {status}). Check the id and the revision; for a private one set HF_TOKEN."
        )
    cause = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"the {kind} {name!r} cannot be fetched from the hub ({cause}). Check the network or set "
        f"HF_ENDPOINT; without a hub, give the {kind} by path, s3 or pypi."
    )
