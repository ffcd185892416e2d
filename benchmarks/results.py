"""What a benchmark leaves: a table for people, and rows and targets as JSON."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Target:
    """A ratio or limit that was to be reached."""

    name: str
    value: float
    bound: float
    met: bool


def at_least(name: str, value: float, bound: float) -> Target:
    """A target that is met from `bound` on."""
    return Target(name, value, bound, value >= bound)


def at_most(name: str, value: float, bound: float) -> Target:
    """A target that is met up to `bound`."""
    return Target(name, value, bound, value <= bound)


def show(rows: Rows, *, head: bool = True) -> None:
    """Print rows with the same keys as an aligned table; without its head to go on with one."""
    keys = list(rows[0])
    cells = [keys] + [[_cell(row[key]) for key in keys] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(keys))]
    for line in cells if head else cells[1:]:
        padded = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(padded) + "\n")


def finish(rows: Rows, targets: list[Target], file: Path | None) -> None:
    """Print the targets, and write rows and targets to `file` when one is given."""
    sys.stdout.write("\n")
    for target in targets:
        met = "met    " if target.met else "NOT MET"
        sys.stdout.write(f"{met} {target.name}: {target.value:.3g} (bound {target.bound:g})\n")
    if file is not None:
        document = {"rows": rows, "targets": [asdict(target) for target in targets]}
        file.write_text(json.dumps(document, indent=1) + "\n")


def _cell(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
