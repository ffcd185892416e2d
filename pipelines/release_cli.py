"""The commands of `finegate` that evaluate, judge and release, without a run of the pipeline."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from components import folders, storage
from components.download_dataset.settings import DatasetSettings
from components.gate_model.settings import GateSettings
from pipelines import documents, sections
from pipelines.options import (
    DEFAULT_STATE,
    REJECTED,
    WAITING,
    AllowLabelChange,
    Config,
    Name,
    Overrides,
    State,
    StoreOption,
    console,
)
from serving.errors import InputError

commands = typer.Typer()

Folder = Annotated[Path, typer.Argument(help="A Hugging Face folder of a classifier.")]
Rows = Annotated[Path, typer.Argument(help="A file with a text and a label a row.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--set", help="A key of dataset, such as label=rating or format=tsv."),
]


@commands.command()
def evaluate(
    name: Name,
    model: Folder,
    rows: Rows,
    columns: Columns = None,
    state: State = DEFAULT_STATE,
    store: StoreOption = None,
) -> None:
    """Score a model, and the champion of NAME, on the rows of a file."""
    from components.evaluate_model.evaluation import headline
    from pipelines import alone
    from pipelines.local import use_store

    address = use_store(state, store)
    found, _ = alone.score(address, name, model, _dataset(rows, columns))
    for title, uri in (("candidate", found.candidate), ("champion", found.champion)):
        if uri:
            _say(f"{title}: {headline(folders.existing(uri)['metrics'])}, {uri}")


@commands.command()
def gate(
    name: Name,
    model: Folder,
    rows: Rows,
    columns: Columns = None,
    config: Config = None,
    allow_label_change: AllowLabelChange = False,
    state: State = DEFAULT_STATE,
    store: StoreOption = None,
) -> None:
    """Judge a model by the rules; prints the run that `finegate promote` takes."""
    from pipelines import alone, summary
    from pipelines.local import use_store

    given = sections.read(config)
    rules = given.get(GateSettings, "gate") or GateSettings()
    if allow_label_change:
        rules = rules.model_copy(update={"allow_label_change": True})
    if rules.data:
        _say("gate.data is left out: rows that are only scored are not validated")
        rules = rules.model_copy(update={"data": {}})
    address = use_store(state, given.store(store))
    verdict = alone.decide(address, name, model, _dataset(rows, columns), rules)
    console().print(summary.table(verdict.model_dump()))
    _say(f"{verdict.decision}: {verdict.reason}")
    _say(f"run: {verdict.run}")
    if verdict.decision == "rejected":
        raise typer.Exit(REJECTED)


@commands.command()
def promote(
    run: Annotated[str, typer.Argument(help="Id of the run whose verdict allows it.")],
    config: Config = None,
    overrides: Overrides = None,
    state: State = DEFAULT_STATE,
    store: StoreOption = None,
) -> None:
    """Release what a run's verdict accepted and make it answer."""
    from components.promote_model.promotion import promote
    from pipelines.local import use_store

    given = sections.read(config, overrides)
    target = given.target(state)
    address = use_store(state, given.store(store))
    verdict = storage.read_json(f"{address}/runs/{run}/verdict.json")
    if verdict is None:
        raise InputError(f"run {run} has no verdict in {address}. `finegate status` lists runs.")
    url = promote(address, verdict["name"], run, target)
    if not url:
        raise typer.Exit(WAITING)
    given.follow(address, verdict["name"])
    _say(f"{verdict['name']} {verdict['candidate']} answers at {url}")


@commands.command()
def approve(
    run: Annotated[str, typer.Argument(help="Id of the run whose verdict waits.")],
    config: Config = None,
    overrides: Overrides = None,
    state: State = DEFAULT_STATE,
    store: StoreOption = None,
) -> None:
    """Release a verdict that waits for a person, and promote."""
    from components.promote_model.approval import approve
    from pipelines.local import use_store

    given = sections.read(config, overrides)
    given.target(state)  # what cannot be promoted is not approved either
    approve(use_store(state, given.store(store)), run)
    promote(run, config, overrides, state, store)


@commands.command()
def pin(
    name: Name,
    version: Annotated[str | None, typer.Argument(help="Unset is the champion.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the log.")] = "pinned by hand",
    config: Config = None,
    overrides: Overrides = None,
    state: State = DEFAULT_STATE,
    store: StoreOption = None,
) -> None:
    """Keep a version champion: no promotion follows until `finegate unpin`."""
    from components.promote_model.interventions import pin
    from pipelines.local import use_store

    given = sections.read(config, overrides)
    target = given.target(state)
    address = use_store(state, given.store(store))
    event = pin(address, name, target, version, reason)
    given.follow(address, name)
    _say(f"{name} is pinned to {event.version} (event {event.number})")


@commands.command()
def unpin(name: Name, state: State = DEFAULT_STATE, store: StoreOption = None) -> None:
    """Let promotions follow again."""
    from components.promote_model.interventions import unpin
    from pipelines.local import use_store

    event = unpin(use_store(state, store), name)
    _say(f"{name} {event.version} is champion until something better passes")


@commands.command()
def diff(
    name: Name,
    before: Annotated[str | None, typer.Argument(help="Unset is the champion before.")] = None,
    after: Annotated[str | None, typer.Argument(help="Unset is the champion.")] = None,
    state: State = DEFAULT_STATE,
    store: StoreOption = None,
) -> None:
    """Tell two releases apart: metrics, lineage, training settings, files."""
    from pipelines import release_diff
    from pipelines.local import use_store

    console().print(release_diff.table(use_store(state, store), name, before, after))


def _say(line: str) -> None:
    console().print(Text(line), soft_wrap=True)


def _dataset(rows: Path, columns: list[str] | None) -> DatasetSettings:
    given: dict[str, Any] = {"path": str(rows)}
    for column in columns or []:
        documents.override(given, column)
    return documents.checked(DatasetSettings, given, "--set")
