"""The commands of `finegate` that talk to a cluster's Kubeflow Pipelines."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipelines.cluster import Place
from pipelines.options import Overrides, Registry, RunFile, console

commands = typer.Typer()
schedules = typer.Typer(no_args_is_help=True, help="Schedules on a cluster, declared in a file.")
commands.add_typer(schedules, name="schedule")

Host = Annotated[
    str | None, typer.Option(help="KFP's API; unset is KF_PIPELINES_ENDPOINT or the cluster's own.")
]
Namespace = Annotated[str | None, typer.Option(help="Your profile's namespace, if there are some.")]
Experiment = Annotated[str, typer.Option(help="KFP experiment.")]


@commands.command()
def submit(
    config: RunFile,
    overrides: Overrides = None,
    host: Host = None,
    namespace: Namespace = None,
    experiment: Experiment = "finegate",
    service_account: Annotated[
        str, typer.Option(help="Account of the run's pods.")
    ] = "finegate-pipeline",
    registry: Registry = "",
) -> None:
    """Start one run on a cluster; prints its id."""
    from pipelines import submit
    from pipelines.config import load

    place = Place(
        host=host,
        namespace=namespace,
        experiment=experiment,
        service_account=service_account,
        registry=registry,
    )
    typer.echo(submit.submit(load(config, overrides or []), place))


@commands.command()
def runs(
    host: Host = None,
    namespace: Namespace = None,
    experiment: Experiment = "finegate",
    limit: Annotated[int, typer.Option(help="How many, newest first.")] = 20,
) -> None:
    """List runs on a cluster."""
    from pipelines.submit import runs

    table = Table("run", "name", "state", "created", "finished")
    for run in runs(Place(host=host, namespace=namespace, experiment=experiment), limit):
        times = [f"{t:%Y-%m-%d %H:%M}" if t else "" for t in (run.created_at, run.finished_at)]
        table.add_row(run.run_id, run.display_name, run.state or "", *times)
    console().print(table)


@commands.command()
def logs(
    run: Annotated[str, typer.Argument(help="Id of the run.")],
    step: Annotated[str | None, typer.Option(help="One step, such as gate-model.")] = None,
    host: Host = None,
    namespace: Namespace = None,
) -> None:
    """Print the logs of a run on a cluster, step by step."""
    from pipelines.submit import logs

    for name, text in logs(run, Place(host=host, namespace=namespace), step):
        typer.echo(f"==> {name}\n{text.rstrip()}\n")


@schedules.command()
def apply(
    file: Annotated[Path, typer.Option("--file", "-f", help="As in configs/schedules..")],
    dry_run: Annotated[bool, typer.Option(help="Show the plan and change nothing.")] = False,
    host: Host = None,
) -> None:
    """Make the cluster's schedules as the file says."""
    from pipelines.schedule import apply

    for change in apply(file, dry_run=dry_run, host=host):
        typer.echo(f"{change.action} {change.name}: {change.why}")
