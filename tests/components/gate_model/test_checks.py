from typing import Any

import numpy as np
import pytest

from components.gate_model.checks import absolute, no_regression
from components.gate_model.settings import GateSettings, NoRegression
from components.gate_model.verdict import Verdict, as_markdown, decide
from serving.errors import InputError

FACTS: dict[str, Any] = {
    "metrics": {
        "accuracy": 0.9,
        "macro_f1": 0.8,
        "log_loss": 0.3,
        "roc_auc": None,
        "classes": {"bad": {"precision": 0.7, "recall": 0.6, "f1": 0.65, "support": 10}},
    },
    "baselines": {"majority": {"accuracy": 0.5}, "tfidf": {"accuracy": 0.89}},
}


def checks(**settings: Any) -> dict[str, bool]:
    found = absolute(FACTS, GateSettings.model_validate({"beat": {}, **settings}))
    return {check.name: check.passed for check in found}


def test_each_rule_gives_one_check_against_its_bound() -> None:
    assert checks(
        minimum={"accuracy": 0.9, "macro_f1": 0.81},
        maximum={"log_loss": 0.3},
        classes={"bad": {"recall": 0.5, "f1": 0.7}},
        beat={"majority": 0.4, "tfidf": 0.005},
    ) == {
        "accuracy": True,
        "macro_f1": False,
        "log_loss": True,
        "recall of bad": True,
        "f1 of bad": False,
        "accuracy over majority": False,
        "accuracy over tfidf": True,
    }


def test_an_undefined_metric_does_not_pass() -> None:
    [check] = absolute(FACTS, GateSettings(minimum={"roc_auc": 0.0}, beat={}))
    assert not check.passed
    assert "undefined" in check.why


def test_a_class_that_the_model_lacks_is_named() -> None:
    with pytest.raises(InputError, match="the model's labels are bad"):
        checks(classes={"good": {"recall": 0.5}})


def test_an_unknown_metric_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="minimum"):
        GateSettings.model_validate({"minimum": {"acuracy": 0.9}})


def simulate(rule: NoRegression, difference: float, runs: int, rows: int) -> float:
    """Share of simulated candidates that pass when they are truly worse by `difference`."""
    chance = np.random.default_rng(7)
    passed = 0
    for _ in range(runs):
        champion = chance.random(rows) < 0.88
        flips = chance.random(rows)
        lost, won = 0.05 + difference, 0.05
        candidate = np.where(champion, flips >= lost / 0.88, flips < won / 0.12)
        passed += no_regression(candidate, champion, rule).passed
    return passed / runs


def test_a_candidate_worse_by_the_margin_passes_at_most_at_the_promised_rate() -> None:
    rule = NoRegression(margin=0.02, confidence=0.95)
    assert simulate(rule, difference=0.02, runs=400, rows=1500) < 0.05 + 0.03


def test_an_equal_candidate_passes_mostly_given_rows_enough() -> None:
    rule = NoRegression(margin=0.03, confidence=0.95)
    assert simulate(rule, difference=0.0, runs=200, rows=2000) > 0.95


def test_the_same_rows_give_the_same_verdict() -> None:
    chance = np.random.default_rng(1)
    ours, theirs = chance.random(900) < 0.88, chance.random(900) < 0.88
    assert no_regression(ours, theirs, NoRegression()) == no_regression(
        ours, theirs, NoRegression()
    )


def test_a_rejection_names_every_failing_check() -> None:
    found = absolute(FACTS, GateSettings(minimum={"accuracy": 0.95, "macro_f1": 0.9}, beat={}))
    decision, reason = decide(found)
    assert decision == "rejected"
    assert "accuracy is 0.9000" in reason
    assert "macro_f1 is 0.8000" in reason


def test_the_table_for_people_has_a_row_a_check() -> None:
    found = absolute(FACTS, GateSettings(minimum={"accuracy": 0.95}, beat={}))
    verdict = Verdict(
        decision="rejected",
        reason="no",
        run="r",
        name="m",
        candidate="c",
        model="s3://b/m",
        champion=None,
        evaluation="s3://b/e",
        champion_evaluation="",
        checks=found,
    )
    assert "| accuracy | 0.9 | >= 0.95 | **no** |" in as_markdown(verdict)
