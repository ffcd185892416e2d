"""A fine-tuned model in; the folder that will be served out, with the backend that serves it."""

import tempfile
from pathlib import Path
from typing import Any

from components import folders
from components.console import say
from components.export_model.settings import ExportSettings
from components.fingerprint import fingerprint

STEP = "export_model"


def export(store: str, model: str, dataset: str, settings: ExportSettings) -> str:
    """Write `exported/<fingerprint>/`: the model's files, serving.json and what its backend needs.

    Evaluation, gate and endpoint all load that folder, and so score and answer alike. Returns its
    S3 address. Raises InputError for a device that is not here.
    """
    finetuned, rows = folders.existing(model), folders.existing(dataset)
    identity = fingerprint(
        {
            "model": finetuned["fingerprint"],
            "dataset": rows["fingerprint"],
            "settings": settings.model_dump(),
        },
        code=[
            "components.export_model",
            "serving.backends",
            "serving.encoding",
            "serving.families",
        ],
        libraries=["nncf", "openvino", "torch", "transformers"],
    )
    uri = f"{store}/exported/{identity}"
    if folders.cached(uri, STEP, "same model, same rows, same settings"):
        return uri
    from components.export_model.choice import choose

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        folders.fetch(model, folder, finetuned)
        folders.fetch(dataset, Path(scratch) / "rows", rows)
        added = Path(scratch) / "added"
        chosen = choose(folder, Path(scratch) / "rows", added, settings)
        facts: dict[str, Any] = {
            **finetuned,
            "kind": "exported-model",
            "fingerprint": identity,
            "finetuned": finetuned["fingerprint"],
            "export": settings.model_dump(),
            "serving": chosen.model_dump(),
        }
        copied = folders.copy(model, uri, finetuned)
        sealed = folders.seal(uri, facts, [*copied, *folders.publish_files(added, uri)])
    say(STEP, f"{sealed['serving']['why']}: {uri}")
    return uri
