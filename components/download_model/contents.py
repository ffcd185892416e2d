"""What a base model's folder may and must hold."""

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from serving.errors import InputError

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


def travels(name: str) -> bool:
    """Whether a file of that name belongs to the base model."""
    return any(fnmatch(name, pattern) for pattern in PATTERNS)


def model_type(folder: Path) -> str:
    """The model's type; raises InputError unless transformers' own code knows it."""
    from transformers import CONFIG_MAPPING

    found = _document(folder / "config.json").get("model_type")
    if found is None or found not in CONFIG_MAPPING:
        raise InputError(
            f"the base model's config.json names {'no model_type' if found is None else found}: "
            "it needs code of its own, which finegate does not run. Choose a model whose "
            "architecture transformers knows."
        )
    return str(found)


def check(folder: Path, safetensors_at: str | None = None) -> None:
    """Raise InputError when weights or tokenizer are absent.

    `safetensors_at` names a revision of the source that has safetensors, where this one lacks
    them.
    """
    from serving.encoding import TOKENIZER_FILES

    if not any(folder.glob("*.safetensors")):
        where = (
            f"Its revision {safetensors_at} has them: set base_model.hub.revision to that"
            if safetensors_at
            else "Convert it once with AutoModel.from_pretrained(...).save_pretrained(folder) and "
            "give that folder, or name a hub revision that has them (often refs/pr/1)"
        )
        raise InputError(
            "the base model has no *.safetensors. Other formats are pickles that can run code when "
            f"loaded. {where}."
        )
    for index in folder.glob("*.safetensors.index.json"):
        shards = set(_document(index).get("weight_map", {}).values())
        absent = sorted(name for name in shards if not (folder / name).is_file())
        if absent:
            raise InputError(
                f"the base model lacks {', '.join(absent[:3])}, which its {index.name} names. "
                "Complete the folder."
            )
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise InputError(
            f"the base model has no tokenizer (looked for {', '.join(TOKENIZER_FILES)}). Save the "
            "tokenizer into the same folder with tokenizer.save_pretrained()."
        )


def _document(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(
            f"the base model has no {path.name}, so it is no Hugging Face model. Give a folder "
            "that save_pretrained() wrote."
        )
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(
            f"the base model's {path.name} is not JSON ({error}). Save the model again."
        ) from error
    if not isinstance(document, dict):
        raise InputError(f"the base model's {path.name} is no JSON object. Save the model again.")
    return document
