"""Datasets and models of the Hugging Face hub (HF_ENDPOINT names another), by commit."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils.tqdm import disable_progress_bars

from components.sources.settings import HubDatasetSource, HubModelSource
from serving.errors import InputError

Rows = Iterator[tuple[int, dict[str, Any]]]

_FAILURES = (HfHubHTTPError, LocalEntryNotFoundError, httpx2.HTTPError, OSError, ValueError)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def commit_of(kind: Literal["dataset", "model"], source: HubDatasetSource | HubModelSource) -> str:
    """The commit that the revision names; a commit names itself, whether the hub answers or not."""
    if _COMMIT.fullmatch(source.revision):
        return source.revision
    try:
        return str(HfApi().repo_info(source.id, revision=source.revision, repo_type=kind).sha)
    except _FAILURES as error:
        raise _explained(kind, source, error) from error


def dataset_rows(source: HubDatasetSource, commit: str) -> Iterator[tuple[str, Rows]]:
    """Our split's name and its numbered rows; a column of a ClassLabel, or of lists of
    them, gives its names."""
    import datasets
    from datasets.exceptions import DatasetsError

    datasets.disable_progress_bars()  # they would fill a log with carriage returns
    disable_progress_bars()
    for split, theirs in source.splits.items():
        try:
            data = datasets.load_dataset(source.id, source.config, split=theirs, revision=commit)
        except (*_FAILURES, DatasetsError) as error:
            raise _explained("dataset", source, error) from error
        yield split, _numbered(data)


def fetch_model(source: HubModelSource, commit: str, patterns: Sequence[str], folder: Path) -> None:
    """Download the model's files that match `patterns` to `folder`; none from folders within."""
    disable_progress_bars()
    try:
        snapshot_download(
            source.id,
            revision=commit,
            allow_patterns=list(patterns),
            ignore_patterns=["*/*"],
            local_dir=str(folder),
        )
    except _FAILURES as error:
        raise _explained("model", source, error) from error


def safetensors_revision(source: HubModelSource) -> str | None:
    """A pull request's revision that has safetensors, newest first; None when none is found.

    The hub's own converter proposes safetensors for old repositories in such pull requests.
    """
    try:
        refs = HfApi().list_repo_refs(source.id, include_pull_requests=True)
        pulls = [str(pull.ref) for pull in refs.pull_requests or []]  # refs/pr/N
        for pull in sorted(pulls, key=lambda ref: int(ref.rpartition("/")[2]), reverse=True)[:10]:
            files = HfApi().list_repo_files(source.id, revision=pull)
            if any(name.endswith(".safetensors") for name in files):
                return pull
    except _FAILURES:  # a hint only
        return None
    return None


def _numbered(data: Any) -> Rows:
    from datasets import ClassLabel

    classes = {
        column: named
        for column, feature in data.features.items()
        if isinstance(named := getattr(feature, "feature", feature), ClassLabel)
    }

    def name(value: Any, named: ClassLabel) -> Any:
        if isinstance(value, list):
            return [name(each, named) for each in value]
        # -1 is the hub's sign for a row whose label is kept secret
        return None if value is None or value < 0 else named.int2str(value)

    for number, row in enumerate(data, 1):
        yield number, {**row, **{column: name(row[column], classes[column]) for column in classes}}


def _explained(
    kind: str, source: HubDatasetSource | HubModelSource, error: Exception
) -> InputError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403, 404) or type(error).__name__ == "DatasetNotFoundError":
        return InputError(
            f"the hub has no {kind} {source.id!r} at revision {source.revision!r}, or it is "
            f"private (status {status or 404}). Check the id and the revision; for a private one "
            "set HF_TOKEN."
        )
    cause = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, ValueError):
        return InputError(
            f"the {kind} {source.id!r} does not fit its settings ({cause}). Check hub.id, config "
            "and splits against its page on the hub."
        )
    return InputError(
        f"the {kind} {source.id!r} cannot be fetched from the hub ({cause}). Check the network or "
        f"set HF_ENDPOINT; without a hub, give the {kind} by path, s3 or pypi."
    )
