"""The model card: README.md in the Hugging Face form, which hubs and people read.

https://huggingface.co/docs/hub/model-cards; the metadata is YAML before the text.
"""

import json
from typing import Any

CARD = "README.md"
SHOWN = ("accuracy", "macro_f1", "mcc", "roc_auc", "pr_auc", "log_loss", "mae", "rmse", "r2")


def model_card(
    name: str, version: str, candidate: dict[str, Any], evaluation: dict[str, Any], checks: Any
) -> bytes:
    """The card of a release, from the manifests of its model and evaluation and its checks."""
    metrics = evaluation["metrics"]
    shown = {key: metrics[key] for key in SHOWN if metrics.get(key) is not None}
    results = [{"type": key, "value": value} for key, value in shown.items()]
    index = {
        "name": name,
        "results": [
            {
                "task": {"type": "text-classification"},
                "dataset": {"name": candidate["dataset"] or "unnamed", "type": "text"},
                "metrics": results,
            }
        ],
    }
    # JSON is YAML, and quotes whatever a label or a name may hold.
    head = {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["finegate", "text-classification"],
        "model-index": [index],
    }
    lines = [
        "---",
        *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()),
        "---",
        "",
        f"# {name} {version}",
        "",
        f"Classifies a text (at most {candidate['max_length']} tokens) as one of "
        f"{len(candidate['labels'])}: {', '.join(map(_plain, candidate['labels']))}.",
        "",
        "## Measured",
        "",
        f"On {metrics.get('rows', '?')} test rows that training never saw.",
        "",
        "| metric | value |",
        "|---|---:|",
        *(f"| {key} | {value:.4f} |" for key, value in shown.items()),
        "",
    ]
    classes = metrics.get("classes") or {}
    if classes:
        lines += ["| label | precision | recall | F1 | rows |", "|---|---:|---:|---:|---:|"]
        lines += [
            f"| {_plain(label)} | {each['precision']:.4f} | {each['recall']:.4f} | "
            f"{each['f1']:.4f} | {each['support']} |"
            for label, each in classes.items()
        ]
        lines.append("")
    if checks:
        lines += ["## Checks that it passed", ""]
        lines += [f"- {_plain(check['why'])}" for check in checks]
        lines.append("")
    lines += [
        "## Where it comes from",
        "",
        f"Model {candidate['fingerprint']}, base model {candidate['base_model'] or 'not recorded'},"
        f" dataset {candidate['dataset'] or 'not recorded'}. release.json has the whole lineage and"
        " the SHA-256 of every file.",
        "",
    ]
    return "\n".join(lines).encode()


def _plain(text: str) -> str:
    """A text that may stand in a table's cell or a list."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
