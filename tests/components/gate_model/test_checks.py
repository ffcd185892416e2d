import unicodedata
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from components.findings import DataFinding
from components.gate_model.checks import absolute, no_regression
from components.gate_model.settings import GateSettings, NoRegression
from components.gate_model.verdict import Verdict, as_markdown, decide
from components.validate_dataset.settings import ValidationSettings
from serving.errors import InputError

FACTS: dict[str, Any] = {
    "problem_type": "single_label_classification",
    "labels": ["bad"],
    "metrics": {
        "accuracy": 0.9,
        "macro_f1": 0.8,
        "log_loss": 0.3,
        "roc_auc": None,
        "confusion": [[0, 0], [0, 0]],
        "classes": {"bad": {"precision": 0.7, "recall": 0.6, "f1": 0.65, "support": 10}},
    },
    "baselines": {"majority": {"accuracy": 0.5}, "tfidf": {"accuracy": 0.89}},
}


def checks(**settings: Any) -> dict[str, bool]:
    found = absolute(FACTS, pd.DataFrame(), GateSettings.model_validate({"beat": {}, **settings}))
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
    [check] = absolute(FACTS, pd.DataFrame(), GateSettings(minimum={"roc_auc": 0.0}, beat={}))
    assert not check.passed
    assert "undefined" in check.why


def test_a_class_that_the_model_lacks_is_named() -> None:
    with pytest.raises(InputError, match="the model's labels are bad"):
        checks(classes={"good": {"recall": 0.5}})


def test_a_class_is_found_whether_an_accent_is_a_character_of_its_own() -> None:
    one, two = (unicodedata.normalize(form, "n\u00e9gatif") for form in ("NFC", "NFD"))
    assert list(GateSettings.model_validate({"classes": {two: {"recall": 0.5}}}).classes) == [one]


def test_an_unknown_metric_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="minimum"):
        GateSettings.model_validate({"minimum": {"acuracy": 0.9}})


def test_the_gate_bounds_each_finding_that_has_a_rule_and_no_other() -> None:
    rules = set(ValidationSettings.model_fields) - {"thresholds", "splits", "drift"}
    assert set(get_args(DataFinding)) == rules
    with pytest.raises(ValueError, match=r"data\.conflict\b"):
        GateSettings.model_validate({"data": {"conflict": 0.02}})


def test_the_same_rows_give_the_same_verdict() -> None:
    chance = np.random.default_rng(1)
    ours, theirs = chance.random(900) < 0.88, chance.random(900) < 0.88
    assert no_regression(ours, theirs, NoRegression()) == no_regression(
        ours, theirs, NoRegression()
    )


def test_a_rejection_names_every_failing_check() -> None:
    found = absolute(
        FACTS, pd.DataFrame(), GateSettings(minimum={"accuracy": 0.95, "macro_f1": 0.9}, beat={})
    )
    decision, reason = decide(found)
    assert decision == "rejected"
    assert "accuracy is 0.9000" in reason
    assert "macro_f1 is 0.8000" in reason


def test_the_table_for_people_has_a_row_a_check() -> None:
    found = absolute(FACTS, pd.DataFrame(), GateSettings(minimum={"accuracy": 0.95}, beat={}))
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
        champion_dataset="",
        checks=found,
    )
    assert "| accuracy | 0.9 | >= 0.95 | **no** |" in as_markdown(verdict)


def test_a_regression_must_stay_under_the_error_of_its_baselines() -> None:
    facts = {
        "problem_type": "regression",
        "labels": ["stars"],
        "metrics": {"rows": 100, "mae": 0.4, "classes": {}},
        "baselines": {"majority": {"mae": 1.2}, "tfidf": {"mae": 0.45}},
    }
    rules = GateSettings(beat={"majority": 0.0, "tfidf": 0.1})
    mean, tfidf = absolute(facts, pd.DataFrame(), rules)
    assert (mean.name, mean.relation, mean.bound) == ("mae under majority", "<", 1.2)
    assert mean.passed
    assert not tfidf.passed
