"""The command `finegate`."""

import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from components import promotions
from components.promote_model.interventions import rollback as roll_back
from components.promote_model.promotion import RolledBackError
from pipelines import cluster_cli, release_cli, sections
from pipelines.options import (
    DEFAULT_STATE,
    FAILED,
    REJECTED,
    ROLLED_BACK,
    WAITING,
    AllowLabelChange,
    Config,
    Name,
    Overrides,
    Registry,
    RunFile,
    State,
    StoreOption,
    console,
)
from serving.errors import InputError

EXIT_CODES = (
    "Exit codes: 0 promoted or unchanged, 1 failed, 2 misused, 3 rejected by the gate, 4 rolled "
    "back by its rollout, 5 waits for approval."
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Fine-tune a text classifier, gate it, and serve what passes.",
    epilog=EXIT_CODES,
)
app.add_typer(release_cli.commands)
app.add_typer(cluster_cli.commands)


@app.command()
def run(
    config: RunFile,
    overrides: Overrides = None,
    port: Annotated[int, typer.Option(help="HTTP port of the endpoint; 0 for a free one.")] = 0,
    state: State = DEFAULT_STATE,
    allow_label_change: AllowLabelChange = False,
    tracebacks: Annotated[bool, typer.Option("--traceback", help="Show tracebacks.")] = False,
) -> None:
    """Run the pipeline on this machine and promote what passes to a local endpoint."""
    from pipelines import local, summary
    from pipelines.config import load

    changes = ["gate.allow_label_change=true"] if allow_label_change else []
    settings = load(config, [*(overrides or []), *changes])
    out = console()
    finished = local.run(settings, state, port=port, console=out, tracebacks=tracebacks)
    summary.show(finished, settings, state, out)
    codes = {"rejected": REJECTED, "waiting": WAITING}
    if finished.verdict["decision"] in codes:
        raise typer.Exit(codes[finished.verdict["decision"]])


@app.command()
def status(state: State = DEFAULT_STATE, store: StoreOption = None) -> None:
    """Tell what runs here, and which version of each model is champion."""
    from pipelines.status import show

    show(state, store, console())


@app.command()
def history(
    name: Name,
    state: State = DEFAULT_STATE,
    store: StoreOption = None,
) -> None:
    """List a model's promotions and rollbacks, oldest first."""
    from pipelines.local import use_store

    events = promotions.history(use_store(state, store), name)
    if not events:
        raise InputError(f"{name} has no promotions in this store. `finegate status` lists models.")
    table = Table("number", "when", "action", "version", "by", "why")
    for event in events:
        table.add_row(
            str(event.number), event.at, event.action, event.version, event.by, event.reason
        )
    console().print(table)


@app.command()
def rollback(
    name: Name,
    to: Annotated[str | None, typer.Option(help="Version; unset is the one before.")] = None,
    config: Config = None,
    overrides: Overrides = None,
    state: State = DEFAULT_STATE,
    store: StoreOption = None,
) -> None:
    """Bring back the champion before this one."""
    from pipelines.local import use_store

    given = sections.read(config, overrides)
    target = given.target(state)
    address = use_store(state, given.store(store))
    event = roll_back(address, name, target, to)
    given.follow(address, name)
    console().print(f"{name} {event.version} is the champion again (promotion {event.number})")


@app.command()
def up(state: State = DEFAULT_STATE, store: StoreOption = None) -> None:
    """Start the embedded store and the endpoint of every champion."""
    from pipelines.local import bring_up, use_store

    for url in bring_up(state, use_store(state, store)):
        console().print(url, highlight=False)


@app.command()
def down(state: State = DEFAULT_STATE) -> None:
    """Stop this machine's endpoints and its embedded store; data stays."""
    from pipelines.status import stop_all

    for stopped in stop_all(state):
        console().print(f"stopped {stopped}")


@app.command()
def usage(state: State = DEFAULT_STATE, store: StoreOption = None) -> None:
    """Tell how many objects and bytes a store holds, by kind."""
    from pipelines.local import use_store
    from pipelines.usage import usage

    table = Table("folder", "objects", "MB")
    for each in usage(use_store(state, store)):
        table.add_row(each.folder, str(each.objects), f"{each.bytes / 1e6:.1f}")
    console().print(table)


@app.command()
def dashboard(
    config: Annotated[
        Path | None, typer.Argument(help="A run config, whose store is shown.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8050,
    endpoint: Annotated[
        str | None,
        typer.Option(help="Where endpoints answer, as http://{name}-predictor.NAMESPACE.svc."),
    ] = None,
    state: State = DEFAULT_STATE,
    store: StoreOption = None,
) -> None:
    """Show models, champions, candidates and endpoints as web pages; it only reads."""
    from pipelines.config import load
    from pipelines.dashboard.command import serve

    address = store or (load(config).store if config else None)
    console().print(f"http://{host}:{port}", highlight=False)
    serve(state, address, host, port, endpoint)


@app.command("compile")
def compile_command(
    target: Annotated[Path | None, typer.Argument(help="File to write.")] = None,
    kubernetes: Annotated[
        bool, typer.Option(help="Write Pipeline and PipelineVersion resources, for GitOps.")
    ] = False,
    namespace: Annotated[str, typer.Option(help="Their namespace.")] = "kubeflow",
    registry: Registry = "",
) -> None:
    """Write the pipeline as KFP's IR YAML, or as Kubernetes resources."""
    from pipelines.compile import COMPILED, MANIFEST, compile_manifest, compile_pipeline

    if kubernetes:
        compile_manifest(target or MANIFEST, namespace, registry)
    else:
        compile_pipeline(target or COMPILED, registry)
    written = target or (MANIFEST if kubernetes else COMPILED)
    console().print(f"wrote {written}", highlight=False)


def main() -> None:
    """Run the command line; what a person can mend is one paragraph on stderr and exit code 1."""
    from pipelines.local import StepFailedError

    try:
        app()
    except (InputError, StepFailedError) as error:
        if "--traceback" in sys.argv:
            traceback.print_exc()
        paragraph = " ".join(str(error).split())
        Console(stderr=True).print(
            f"error: {paragraph}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        code = ROLLED_BACK if isinstance(error, RolledBackError) else FAILED
        raise SystemExit(code) from error
