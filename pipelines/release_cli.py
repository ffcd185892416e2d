"""The commands of `finegate` that evaluate, judge and release, without a run of the pipeline."""

import sys
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import yaml
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from components import folders, promotions, storage
from components.download_dataset.settings import DatasetSettings
from components.gate_model.settings import GateSettings
from components.promote_model.settings import PromotionSettings
from components.tracking.settings import MlflowSettings
from serving.errors import InputError

REJECTED, WAITING = 3, 5

commands = typer.Typer()
Settings = TypeVar("Settings", bound=BaseModel)

State = Annotated[Path, typer.Option(help="Folder of this machine's store, endpoints and runs.")]
StoreOption = Annotated[
    str | None, typer.Option(help="s3://bucket/prefix; unset is the embedded store.")
]
Name = Annotated[str, typer.Argument(help="Name of the model.")]
Folder = Annotated[Path, typer.Argument(help="A Hugging Face folder of a classifier.")]
Rows = Annotated[Path, typer.Argument(help="A file with a text and a label a row.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--set", help="A key of dataset, such as label=rating or format=tsv."),
]
Config = Annotated[
    Path | None, typer.Option(help="A run config, whose section of that name is used.")
]
DEFAULT_STATE = Path(".finegate")


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
    allow_label_change: Annotated[
        bool, typer.Option(help="Let a candidate pass whose labels are not the champion's.")
    ] = False,
    state: State = DEFAULT_STATE,
    store: StoreOption = None,
) -> None:
    """Judge a model by the rules; prints the run that `finegate promote` takes."""
    from pipelines import alone, summary
    from pipelines.local import use_store

    rules = _section(GateSettings, config, "gate")
    if allow_label_change:
        rules = rules.model_copy(update={"allow_label_change": True})
    verdict = alone.decide(use_store(state, store), name, model, _dataset(rows, columns), rules)
    console().print(summary.table(verdict.model_dump()))
    _say(f"{verdict.decision}: {verdict.reason}")
    _say(f"run: {verdict.run}")
    if verdict.decision == "rejected":
        raise typer.Exit(REJECTED)


@commands.command()
def promote(
    run: Annotated[str, typer.Argument(help="Id of the run whose verdict allows it.")],
    config: Config = None,
    state: State = DEFAULT_STATE,
    store: StoreOption = None,
) -> None:
    """Release what a run's verdict accepted and make it answer."""
    from components.promote_model.promotion import promote
    from pipelines.local import use_store

    address = use_store(state, store)
    verdict = storage.read_json(f"{address}/runs/{run}/verdict.json")
    if verdict is None:
        raise InputError(f"run {run} has no verdict in {address}. `finegate status` lists runs.")
    url = promote(address, verdict["name"], run, target(config, state))
    if not url:
        raise typer.Exit(WAITING)
    followed(config, address, verdict["name"])
    _say(f"{verdict['name']} {verdict['candidate']} answers at {url}")


@commands.command()
def approve(
    run: Annotated[str, typer.Argument(help="Id of the run whose verdict waits.")],
    config: Config = None,
    state: State = DEFAULT_STATE,
    store: StoreOption = None,
) -> None:
    """Release a verdict that waits for a person, and promote."""
    from components.promote_model.approval import approve
    from pipelines.local import use_store

    approve(use_store(state, store), run)
    promote(run, config, state, store)


@commands.command()
def pin(
    name: Name,
    version: Annotated[str | None, typer.Argument(help="Unset is the champion.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the log.")] = "pinned by hand",
    config: Config = None,
    state: State = DEFAULT_STATE,
    store: StoreOption = None,
) -> None:
    """Keep a version champion: no promotion follows until `finegate unpin`."""
    from components.promote_model.promotion import pin
    from pipelines.local import use_store

    address = use_store(state, store)
    event = pin(address, name, target(config, state), version, reason)
    followed(config, address, name)
    _say(f"{name} is pinned to {event.version} (event {event.number})")


@commands.command()
def unpin(name: Name, state: State = DEFAULT_STATE, store: StoreOption = None) -> None:
    """Let promotions follow again."""
    from components.promote_model.promotion import unpin
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
    from pipelines.local import use_store

    address = use_store(state, store)
    events = promotions.history(address, name)
    new = after or (events[-1].version if events else None)
    old = before or promotions.predecessor(events)
    if old is None or new is None:
        raise InputError(f"{name} has not two champions to compare. Name two versions.")
    sides = [_release(address, name, version) for version in (old, new)]
    table = Table("what", old, new)
    left, right = (_flat(side) for side in sides)
    for key in sorted({*left, *right}):
        if left.get(key) != right.get(key):
            table.add_row(Text(key), Text(left.get(key, "-")), Text(right.get(key, "-")))
    console().print(table)


def console() -> Console:
    """Bound to stdout as it is now; a log has no width to fit."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160)


def _say(line: str) -> None:
    console().print(Text(line), soft_wrap=True)


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


def _dataset(rows: Path, columns: list[str] | None) -> DatasetSettings:
    given: dict[str, Any] = {"path": str(rows)}
    for column in columns or []:
        key, separator, value = column.partition("=")
        if not separator:
            raise InputError(f"--set {column!r} is not key=value, as label=rating is.")
        given[key] = yaml.safe_load(value)
    return _valid(DatasetSettings, given, "--set")


def target(config: Path | None, state: Path) -> PromotionSettings:
    """The config's promotion, or this machine's endpoint."""
    from pipelines.local import promotion_settings

    if config is None:
        return promotion_settings(state)
    return _section(PromotionSettings, config, "promotion")


def followed(config: Path | None, store: str, name: str) -> None:
    """Let the tracking server follow the promotion log, where the config names one."""
    tracking = config and _document(config).get("tracking")
    if tracking:
        from components.tracking.mlflow import follow

        follow(store, name, _valid(MlflowSettings, tracking, f"{config}: tracking"))


def _section(kind: type[Settings], config: Path | None, name: str) -> Settings:
    """The section of a run config, whose other sections may be absent."""
    if config is None:
        return kind()
    return _valid(kind, _document(config).get(name) or {}, f"{config}: {name}")


def _document(config: Path) -> dict[str, Any]:
    if not config.is_file():
        raise InputError(f"there is no config file {config}. `ls configs` lists those that ship.")
    try:
        document: dict[str, Any] = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{config} is not YAML: {error}. Mend it there.") from error
    return document


def _valid(kind: type[Settings], given: Any, place: str) -> Settings:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise InputError(f"{place}: {said}. Mend it there.") from error
