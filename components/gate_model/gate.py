"""The evaluations in, the verdict out: on S3 for the run, and cached for the same question."""

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from components import folders, promotions, storage
from components.console import say
from components.fingerprint import fingerprint
from components.gate_model.settings import GateSettings
from components.gate_model.verdict import Champion, Check, Verdict, decide
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
    """Apply the rules; writes `runs/<run>/verdict.json`. Rejection is a normal outcome.

    The candidate's version is the head of its fingerprint: the same data, settings and code give
    the same version. Raises InputError when the champion changed since it was evaluated.
    """
    candidate = folders.existing(model)
    version = candidate["fingerprint"][:VERSION_DIGITS]
    current = promotions.champion(store, name)
    champion = Champion(version=current.version, number=current.number) if current else None
    checks: list[Check] = []
    if champion is not None and champion.version == version:
        decision, reason = (
            "unchanged",
            f"The candidate is the champion (version {version}, promotion {champion.number}): "
            "same data, same settings, same model.",
        )
    else:
        _same_champion(store, name, champion, champion_evaluation)
        checks = _checks(store, model, dataset, evaluation, champion_evaluation, settings)
        decision, reason = decide(checks)
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
        checks=checks,
    )
    storage.write_json(f"{store}/runs/{run}/verdict.json", verdict.model_dump())
    say(STEP, f"{decision}: {reason}")
    return verdict


def _same_champion(
    store: str, name: str, champion: Champion | None, champion_evaluation: str
) -> None:
    """Refuse to judge against an evaluation of another model than today's champion."""
    evaluated = folders.existing(champion_evaluation)["model"] if champion_evaluation else None
    version = champion.version if champion else None
    if (evaluated and evaluated[:VERSION_DIGITS]) != version:
        raise InputError(
            f"the champion of {name} is {version}, but version "
            f"{evaluated and evaluated[:VERSION_DIGITS]} was evaluated: another promotion came in "
            "between. Run again; what is done is not done twice."
        )


def _checks(
    store: str,
    model: str,
    dataset: str,
    evaluation: str,
    champion_evaluation: str,
    settings: GateSettings,
) -> list[Check]:
    facts = folders.existing(evaluation)
    champion = folders.existing(champion_evaluation)["fingerprint"] if champion_evaluation else ""
    identity = fingerprint(
        {
            "evaluation": facts["fingerprint"],
            "champion": champion,
            "settings": settings.model_dump(),
        },
        code=["components.gate_model", "components.predictor_process", "serving"],
        libraries=["kserve", "torch", "transformers"],
    )
    uri = f"{store}/verdicts/{identity}.json"
    cached: list[dict[str, Any]] | None = storage.read_json(uri)
    if cached is not None:
        say(STEP, f"cached: {uri} (same evaluations, same rules)")
        return [Check.model_validate(check) for check in cached]
    from components.gate_model.checks import absolute, no_regression
    from components.gate_model.serving_check import serving_checks

    checks = absolute(facts, settings)
    if settings.champion is not None and champion_evaluation:
        ours, theirs = _right(evaluation), _right(champion_evaluation)
        checks.append(no_regression(ours.to_numpy(), theirs.to_numpy(), settings.champion))
    if settings.serving is not None:
        checks += serving_checks(model, evaluation, dataset, settings.serving)
    storage.create_json(uri, [check.model_dump() for check in checks])
    return checks


def _right(evaluation: str) -> "pd.Series[bool]":
    with tempfile.TemporaryDirectory() as scratch:
        folders.fetch(evaluation, Path(scratch))
        rows = pd.read_parquet(Path(scratch) / "predictions.parquet")
    return rows["label"] == rows["predicted"]
