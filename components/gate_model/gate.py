"""The evaluations in, the verdict out: on S3 for the run, and cached for the same question."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components import candidates, folders, promotions, storage
from components.console import say
from components.fingerprint import fingerprint
from components.gate_model.settings import GateSettings
from components.gate_model.verdict import Champion, Check, Verdict, decide
from components.held_out import held_out
from components.outcomes import outcomes
from serving.errors import InputError

STEP = "gate_model"
VERSION_DIGITS = 12


def judge(
    store: str,
    *,
    name: str,
    run: str,
    model: str,
    dataset: str,
    evaluation: str,
    champion_evaluation: str,
    settings: GateSettings,
) -> Verdict:
    """Apply the rules; writes `runs/<run>/verdict.json` and lists the candidate under its model.

    Rejection is a normal outcome.

    What passes waits for `finegate approve` where the rules say so.

    The candidate's version is the head of its fingerprint: the same data, settings and code give
    the same version. Raises InputError when the champion changed since it was evaluated.
    """
    candidate = folders.existing(model)
    version = candidate["fingerprint"][:VERSION_DIGITS]
    current = promotions.champion(store, name)
    champion = Champion(version=current.version, number=current.number) if current else None
    checks: list[Check] = []
    learned = ""
    if champion is not None and champion.version == version:
        decision, reason = (
            "unchanged",
            f"The candidate is the champion (version {version}, promotion {champion.number}): "
            "same data, same settings, same model.",
        )
    else:
        changed = _label_change(store, name, champion, candidate["labels"], settings)
        if not changed:
            _same_champion(name, champion, champion_evaluation)
        learned = _learned_from(store, name, champion, dataset)
        checks = changed + _checks(
            store, model, dataset, evaluation, champion_evaluation, learned, settings
        )
        decision, reason = decide(checks)
        if decision == "accepted" and settings.approve == "manual":
            decision = "waiting"
    verdict = Verdict(
        decision=decision,
        reason=reason,
        run=run,
        name=name,
        candidate=version,
        model=model,
        champion=champion,
        evaluation=evaluation,
        champion_evaluation=champion_evaluation,
        champion_dataset=learned,
        checks=checks,
    )
    storage.write_json(f"{store}/runs/{run}/verdict.json", verdict.model_dump())
    scored = folders.existing(champion_evaluation)["metrics"] if champion_evaluation else None
    candidates.record(store, verdict.model_dump(), folders.existing(evaluation)["metrics"], scored)
    say(STEP, f"{decision}: {reason}")
    if decision == "waiting":
        say(STEP, f"a person must release it: finegate approve {run}")
    return verdict


def _label_change(
    store: str, name: str, champion: Champion | None, labels: list[str], settings: GateSettings
) -> list[Check]:
    """A check for a champion with other labels, which nothing else can be compared with."""
    if champion is None:
        return []
    release = promotions.release(store, name, champion.version)
    if release is None or sorted(release["labels"]) == sorted(labels):
        return []
    from components.gate_model.checks import same_labels

    return [same_labels(labels, release["labels"], allowed=settings.allow_label_change)]


def _same_champion(name: str, champion: Champion | None, champion_evaluation: str) -> None:
    """Refuse to judge against an evaluation of another model than today's champion."""
    evaluated = folders.existing(champion_evaluation)["model"] if champion_evaluation else None
    version = champion.version if champion else None
    if (evaluated and evaluated[:VERSION_DIGITS]) != version:
        raise InputError(
            f"the champion of {name} is {version}, but version "
            f"{evaluated and evaluated[:VERSION_DIGITS]} was evaluated: another promotion came in "
            "between. Run again; what is done is not done twice."
        )


def _learned_from(store: str, name: str, champion: Champion | None, dataset: str) -> str:
    """The S3 address of the dataset that the champion learned from; "" for this one or none.

    A model that came as a folder has none recorded.
    """
    release = promotions.release(store, name, champion.version) if champion else None
    if champion is None or release is None or not release["lineage"]["dataset"]:
        return ""
    uri = f"{store}/validated/{release['lineage']['dataset']}"
    if uri == dataset:
        return ""
    if folders.manifest_of(uri) is None:
        say(
            STEP,
            f"which test rows champion {champion.version} learned from is not known: {uri}/ "
            "is no longer there",
        )
        return ""
    return uri


def _checks(
    store: str,
    model: str,
    dataset: str,
    evaluation: str,
    champion_evaluation: str,
    learned: str,
    settings: GateSettings,
) -> list[Check]:
    facts = folders.existing(evaluation)
    champion = folders.existing(champion_evaluation)["fingerprint"] if champion_evaluation else ""
    identity = fingerprint(
        {
            "evaluation": facts["fingerprint"],
            "champion": champion,
            "learned": learned,
            "settings": settings.model_dump(exclude={"approve", "allow_label_change"}),
        },
        code=[
            "components.answers",
            "components.gate_model",
            "components.held_out",
            "components.outcomes",
            "components.predictor_process",
            "components.texts",
            "serving",
        ],
        libraries=["kserve", "scikit-learn", "scipy", "torch", "transformers"],
    )
    uri = f"{store}/verdicts/{identity}.json"
    cached: list[dict[str, Any]] | None = storage.read_json(uri)
    if cached is not None:
        say(STEP, f"cached: {uri} (same evaluations, same rules)")
        return [Check.model_validate(check) for check in cached]
    from components.gate_model.checks import absolute, findings, no_regression, nothing_new
    from components.gate_model.serving_check import serving_checks

    rows = folders.read_table(evaluation, "predictions.parquet")
    checks = absolute(facts, rows, settings)
    if settings.champion is not None and champion_evaluation:
        theirs = folders.read_table(champion_evaluation, "predictions.parquet")
        new = held_out(dataset, learned) if learned else np.ones(len(rows), bool)
        checks.append(
            no_regression(
                outcomes(rows["label"], rows["predicted"]).to_numpy()[new],
                outcomes(theirs["label"], theirs["predicted"]).to_numpy()[new],
                settings.champion,
                left_out=int((~new).sum()),
            )
            if new.any()
            else nothing_new(len(new))
        )
    if settings.data:
        checks += findings(folders.existing(dataset), settings)
    if settings.slices or settings.robustness is not None:
        checks += _by_text(model, dataset, rows, settings)
    if settings.serving is not None:
        checks += serving_checks(model, evaluation, dataset, settings.serving)
    storage.create_json(uri, [check.model_dump() for check in checks])
    return checks


def _by_text(model: str, dataset: str, rows: pd.DataFrame, settings: GateSettings) -> list[Check]:
    """The checks that read the test texts: slices and robustness."""
    from components.gate_model.robustness import robustness_checks
    from components.gate_model.slices import slice_checks

    texts = folders.read_table(dataset, "test.parquet")
    right = outcomes(rows["label"], rows["predicted"])
    if settings.slices and right.dtype != bool:
        raise InputError("gate.slices needs labels, and this is a regression. Take it out.")
    checks: list[Check] = []
    for by, rule in settings.slices.items():
        checks += slice_checks(right, texts, by, rule, settings.confidence)
    if settings.robustness is None:
        return checks
    with tempfile.TemporaryDirectory() as scratch:
        folders.fetch(model, Path(scratch), wanted=lambda path: path != "training.jsonl")
        return checks + robustness_checks(Path(scratch), texts, settings.robustness)
