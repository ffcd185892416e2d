"""What tells two releases of a model apart."""

from typing import Any

from rich.table import Table
from rich.text import Text

from components import promotions
from serving.errors import InputError


def table(store: str, name: str, before: str | None, after: str | None) -> Table:
    """Metrics, lineage, training settings and files that differ, a row each.

    `after` unset is the champion, `before` unset the champion before it. Raises InputError where
    there is no such release.
    """
    events = promotions.history(store, name)
    new = after or (events[-1].version if events else None)
    old = before or promotions.predecessor(events)
    if old is None or new is None:
        raise InputError(f"{name} has not two champions to compare. Name two versions.")
    left, right = (_flat(_release(store, name, version)) for version in (old, new))
    result = Table("what", old, new)
    for key in sorted({*left, *right}):
        if left.get(key) != right.get(key):
            result.add_row(Text(key), Text(left.get(key, "-")), Text(right.get(key, "-")))
    return result


def _release(store: str, name: str, version: str) -> dict[str, Any]:
    document = promotions.release(store, name, version)
    if document is None:
        raise InputError(f"{name} has no release {version}. `finegate history {name}` lists them.")
    return document


def _flat(release: dict[str, Any]) -> dict[str, str]:
    """Every number and name of a release by its path; files by their SHA-256."""
    found: dict[str, str] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{path}.{key}" if path else str(key))
        else:
            found[path] = f"{value:.6g}" if isinstance(value, float) else str(value)

    kept = ("labels", "max_length", "lineage", "metrics", "created", "run")
    walk({key: release[key] for key in kept if key in release}, "")
    for file in release["files"]:
        found[f"file {file['path']}"] = f"{file['sha256'][:12]} ({file['size']} bytes)"
    return found
