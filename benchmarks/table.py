"""How a benchmark ends: its rows as a table, its targets, and both as JSON."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Target:
    """A value and its bound: at most that, or at `least` that."""

    name: str
    value: float
    bound: float
    least: bool = False

    @property
    def met(self) -> bool:
        """True when the value keeps to the bound; NaN does not."""
        return self.value >= self.bound if self.least else self.value <= self.bound


def finish(rows: Sequence[dict[str, Any]], targets: Sequence[Target], file: Path | None) -> None:
    """Print rows and targets, write them to `file`; exits 1 when a target is missed."""
    console = Console(width=160)
    names = list(dict.fromkeys(name for row in rows for name in row))
    console.print(_table(names, [[_shown(row.get(name, "")) for name in names] for row in rows]))
    lines = [
        [
            each.name,
            _shown(each.value),
            f"{'>=' if each.least else '<='} {_shown(each.bound)}",
            "yes" if each.met else "NO",
        ]
        for each in targets
    ]
    console.print(_table(["target", "value", "bound", "met"], lines))
    if file is not None:
        listed = [
            {"name": each.name, "value": each.value, "bound": each.bound, "met": each.met}
            for each in targets
        ]
        file.write_text(json.dumps({"rows": list(rows), "targets": listed}, indent=2) + "\n")
    sys.exit(0 if all(each.met for each in targets) else 1)


def _table(names: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    table = Table()
    for name in names:
        table.add_column(name, justify="left" if name == names[0] else "right")
    for line in lines:
        table.add_row(*line)
    return table


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
