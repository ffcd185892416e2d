"""What the commands of `finegate` share: options, exit codes, and where they print."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

FAILED, REJECTED, ROLLED_BACK, WAITING = 1, 3, 4, 5  # 2 is typer's own, for misuse
DEFAULT_STATE = Path(".finegate")

State = Annotated[Path, typer.Option(help="Folder of this machine's store, endpoints and runs.")]
StoreOption = Annotated[
    str | None,
    typer.Option(
        help="s3://bucket/prefix; unset is that of a config, if given, else the embedded one."
    ),
]
Name = Annotated[str, typer.Argument(help="Name of the model.")]
RunFile = Annotated[Path, typer.Argument(help="A YAML file, such as those in configs/.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="key.path=value, before the config is read.")
]
Config = Annotated[
    Path | None,
    typer.Option(help="A run config, whose store and whose sections of these names are used."),
]
AllowLabelChange = Annotated[
    bool, typer.Option(help="Let a candidate pass whose labels are not the champion's.")
]
Registry = Annotated[str, typer.Option(help="Where the steps' images are pulled from.")]


def console() -> Console:
    """Bound to stdout as it is now: steps run with it redirected. A log has no width to fit."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160)
