"""The config of a model that is trained from scratch, checked before anything is trained."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForSequenceClassification

from serving.errors import InputError

# What transformers raises for values that do not fit each other or their type.
_MISFITS = (
    StrictDataclassError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    RuntimeError,
    ZeroDivisionError,
)


def write_config(architecture: dict[str, Any], folder: Path) -> None:
    """Write `architecture`'s config.json to `folder`.

    Raises InputError for an unknown model type or setting, and for values from which no text
    classifier can be built (tried on torch's meta device, so without memory).
    """
    given = dict(architecture)
    model_type = str(given.pop("model_type"))
    if model_type not in CONFIG_MAPPING:
        near = get_close_matches(model_type, list(CONFIG_MAPPING), 3)
        raise InputError(
            f"base_model.architecture is not a transformers config: it has no model_type "
            f"{model_type!r}. Name one that it has, such as {', '.join(near) or 'bert'}."
        )
    try:
        settings = _settings(given, model_type)
        config = AutoConfig.for_model(model_type, **settings)
        with torch.device("meta"):
            AutoModelForSequenceClassification.from_config(config)
    except InputError:
        raise
    except _MISFITS as error:
        cause = str(error).splitlines()
        raise InputError(
            f"base_model.architecture makes no {model_type} text classifier "
            f"({' '.join(cause[:2])}). Check the values against transformers' {model_type} config."
        ) from error
    config.save_pretrained(str(folder))


def _settings(given: dict[str, Any], model_type: str) -> dict[str, Any]:
    """`given` with the whole numbers that KFP made floats as ints again.

    Raises InputError for a name that the config lacks: transformers keeps unknown settings
    without a word, so a misspelt one would do nothing.
    """
    config = AutoConfig.for_model(model_type)
    defaults = config.to_dict()
    known = {*defaults, *getattr(config, "attribute_map", {})}
    settings = {}
    for name, value in given.items():
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"Did you mean {near[0]}?" if near else f"It has {', '.join(sorted(known))}."
            raise InputError(
                f"base_model.architecture sets {name}, which a {model_type} config does not have. "
                f"{hint}"
            )
        whole = isinstance(value, float) and value.is_integer()
        settings[name] = int(value) if whole and type(defaults.get(name)) is not float else value
    return settings
