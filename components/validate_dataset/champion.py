"""Drift against the dataset that the present champion was trained on."""

from typing import Any, NamedTuple

from components import folders, promotions, storage
from components.console import say
from components.fingerprint import fingerprint
from components.validate_dataset.settings import DriftSettings
from serving.errors import InputError

STEP = "validate_dataset"


class Validated(NamedTuple):
    """What the step hands on."""

    dataset: str
    drift: str


def compare(store: str, name: str, validated: str, settings: DriftSettings) -> str:
    """Write `drift/<fingerprint>.json` about the validated dataset at `validated` against that of
    the champion of the model `name`; returns its address, "" where there is nothing to compare.

    It is no part of the validated dataset, whose fingerprint may not depend on who the champion
    is: the same rows would be trained on again after every promotion. Raises InputError when the
    rule is `fail` and the texts have drifted.
    """
    champion = promotions.champion(store, name) if settings.rule != "ignore" else None
    release = promotions.release(store, name, champion.version) if champion else None
    if release is None:
        return ""
    ours = folders.existing(validated)
    theirs_uri = f"{store}/validated/{release['lineage']['dataset']}"
    if theirs_uri == validated:
        say(STEP, f"no drift: the champion {release['version']} was trained on this dataset")
        return ""
    theirs = folders.manifest_of(theirs_uri)
    if theirs is None:
        say(STEP, f"drift is not known: the champion's dataset {theirs_uri} is no longer there")
        return ""
    identity = fingerprint(
        {
            "ours": ours["fingerprint"],
            "theirs": theirs["fingerprint"],
            "champion": release["version"],
            "settings": settings.model_dump(exclude={"rule"}),
        },
        code=["components.validate_dataset"],
        libraries=["scikit-learn", "scipy"],
    )
    uri = f"{store}/drift/{identity}.json"
    found: dict[str, Any] | None = storage.read_json(uri)
    if found is None:
        found = {
            "dataset": ours["fingerprint"],
            "champion": {"version": release["version"], "dataset": theirs["fingerprint"]},
            "shifts": _shifts(validated, ours, theirs_uri, theirs, settings),
        }
        storage.write_json(uri, found)
    shifted = [shift for shift in found["shifts"] if shift["shifted"]]
    told = "; ".join(
        f"{shift['name']} shift ({shift['test']}: effect {shift['effect']:.3f}, bound "
        f"{shift['bound']:g}, p {shift['p_value']:.2g}; {shift['sentence']})"
        for shift in shifted
    )
    against = f"the dataset of champion {release['version']}"
    if shifted and settings.rule == "fail":
        raise InputError(
            f"the training rows have drifted from {against}: {told}. Check the source; if the "
            "change is meant, set validation.drift.rule to warn."
        )
    say(STEP, f"drift from {against}: {told or 'none'}")
    return uri


def _shifts(
    validated: str,
    ours: folders.Manifest,
    theirs_uri: str,
    theirs: folders.Manifest,
    settings: DriftSettings,
) -> list[dict[str, Any]]:
    from components.validate_dataset.drift import shifts

    if ours["problem_type"] != theirs["problem_type"]:
        raise InputError(
            f"this dataset is one of {ours['problem_type']}, and that of the champion one of "
            f"{theirs['problem_type']}. Give the new kind of model a name of its own."
        )
    mine, champions = (
        folders.read_table(uri, "train.parquet", ["text", "label"])
        for uri in (validated, theirs_uri)
    )
    found = shifts(mine, champions, settings, ours["problem_type"])
    return [shift.model_dump() for shift in found]
