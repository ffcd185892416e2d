"""The gate's promises against theory, over 1,000 simulated evaluations each."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk

from components.gate_model.bounds import count_metrics, row_draws
from components.gate_model.checks import absolute, no_regression
from components.gate_model.settings import GateSettings, NoRegression

RUNS = 1000
CONFIDENCE = 0.95
# With the promised rate true, more than this many of RUNS happen once in 1,000 tries.
MOST = int(stats.binom(RUNS, 1 - CONFIDENCE).ppf(0.999))
Bools = npt.NDArray[np.bool_]


def pairs(rows: int, better: float, disagree: float, seed: int) -> Iterator[tuple[Bools, Bools]]:
    """Which rows candidate and champion get right, RUNS times; accuracies differ by `better`."""
    chance = np.random.default_rng(seed)
    won, lost = (disagree + better) / 2, (disagree - better) / 2
    both = 0.88 - lost
    for _ in range(RUNS):
        kind = chance.choice(4, size=rows, p=[won, lost, both, 1 - won - lost - both])
        yield (kind == 0) | (kind == 2), (kind == 1) | (kind == 2)


@pytest.mark.parametrize("disagree", [0.025, 0.06, 0.12])
@pytest.mark.parametrize("rows", [100, 400, 2000])
def test_a_candidate_worse_by_the_margin_passes_at_most_at_the_promised_rate(
    rows: int, disagree: float
) -> None:
    rule = NoRegression(margin=0.02, confidence=CONFIDENCE)
    passed = sum(
        no_regression(ours, theirs, rule).passed for ours, theirs in pairs(rows, -0.02, disagree, 3)
    )
    assert passed <= MOST, f"{passed} of {RUNS}"


def test_an_equal_candidate_passes_mostly_given_rows_enough() -> None:
    rule = NoRegression(margin=0.03, confidence=CONFIDENCE)
    passed = sum(no_regression(o, t, rule).passed for o, t in pairs(2000, 0.0, 0.1, 5))
    assert passed > 0.95 * RUNS


def test_with_no_margin_an_equal_candidate_passes_at_most_at_the_promised_rate() -> None:
    rule = NoRegression(margin=0.0, confidence=CONFIDENCE)
    passed = sum(no_regression(o, t, rule).passed for o, t in pairs(1000, 0.0, 0.1, 5))
    assert passed <= MOST, f"{passed} of {RUNS}"


def test_numbers_worse_by_the_margin_pass_at_most_at_the_promised_rate() -> None:
    chance = np.random.default_rng(9)
    rule = NoRegression(margin=0.1, confidence=CONFIDENCE)
    passed = 0
    for _ in range(RUNS):
        theirs = np.abs(chance.normal(size=300))
        passed += no_regression(theirs + 0.1 + chance.normal(0, 0.3, size=300), theirs, rule).passed
    assert passed <= MOST, f"{passed} of {RUNS}"


@pytest.mark.parametrize("rows", [100, 600])
def test_lower_bounds_cover_the_truth_at_the_promised_rate(rows: int) -> None:
    """True confusion shares are known, so each metric's true value is."""
    shares = np.array([[0.44, 0.04, 0.02], [0.03, 0.27, 0.02], [0.03, 0.03, 0.12]])
    truth = {name: value[0] for name, value in count_metrics(shares[None]).items()}
    chance = np.random.default_rng(11)
    truth["accuracy"] = float(np.trace(shares))
    for index, label in enumerate(CLASSES):
        right, given, told = shares[index, index], shares[index].sum(), shares[:, index].sum()
        truth |= {f"recall {label}": right / given, f"precision {label}": right / told}
        truth[f"f1 {label}"] = 2 * right / (given + told)
    missed = dict.fromkeys(truth, 0)
    for _ in range(RUNS):
        counted = chance.multinomial(rows, shares.ravel()).reshape(3, 3)
        for name, lower in lower_bounds(counted).items():
            missed[name] += lower > truth[name]
    assert len(missed) == 15
    assert all(count <= MOST for count in missed.values()), missed
    assert missed["accuracy"] > 0.01 * RUNS  # not by being too wide


CLASSES = ("bad", "good", "mixed")


def lower_bounds(counted: npt.NDArray[np.int64]) -> dict[str, float]:
    """Every lower bound of a confusion matrix, as the gate computes them."""
    truth, predicted = np.divmod(np.repeat(np.arange(9), counted.ravel()), 3)
    labels = np.array(CLASSES)
    rows = pd.DataFrame({"label": labels[truth], "predicted": labels[predicted]})
    names = ("accuracy", "balanced_accuracy", "mcc")
    averages = ("macro_f1", "macro_precision", "macro_recall")
    facts = {
        "problem_type": "single_label_classification",
        "labels": list(CLASSES),
        "metrics": {
            **dict.fromkeys((*names, *averages), float(np.trace(counted)) / counted.sum()),
            "classes": dict.fromkeys(CLASSES),
            "confusion": counted.tolist(),
        },
    }
    settings = GateSettings.model_validate(
        {
            "minimum": dict.fromkeys((*names, *averages), 0.5),
            "classes": {c: {"recall": 0.5, "precision": 0.5, "f1": 0.5} for c in CLASSES},
            "confidence": CONFIDENCE,
            "beat": {},
        }
    )
    found = absolute(facts, rows, settings)
    shown = {c.name.removesuffix(", lower bound").replace(" of ", " "): c.observed for c in found}
    return {name: value for name, value in shown.items() if value is not None}


def test_a_bound_is_honest_where_no_error_was_seen() -> None:
    """20 of 20 right proves an accuracy of 0.05 ** (1 / 20), by the binomial distribution."""
    bounds = lower_bounds(np.diag([10, 10, 0]))
    assert bounds["accuracy"] == pytest.approx(0.05**0.05)
    assert bounds["macro_f1"] < 0.97


def test_the_upper_bound_of_the_log_loss_covers_it_at_the_promised_rate() -> None:
    chance = np.random.default_rng(13)
    missed, runs = 0, 200  # every draw reads every row
    grid = np.linspace(0.0005, 0.9995, 1000)
    # P(right) = p, where p is uniform: the mean of -p log p - (1 - p) log(1 - p).
    true = float(np.mean(-grid * np.log(grid) - (1 - grid) * np.log(1 - grid)))
    for _ in range(runs):
        p = chance.uniform(0.0005, 0.9995, size=400)
        labels = (chance.random(400) < p).astype(np.int64)
        draws = row_draws(labels, np.column_stack([1 - p, p]), "log_loss")
        missed += bool(np.quantile(draws, CONFIDENCE) < true)
    assert missed <= stats.binom(runs, 1 - CONFIDENCE).ppf(0.999), missed


def test_counted_metrics_are_those_of_scikit_learn() -> None:
    chance = np.random.default_rng(17)
    truth, predicted = chance.integers(0, 4, 300), chance.integers(0, 4, 300)
    found = count_metrics(sk.confusion_matrix(truth, predicted)[None].astype(float))
    assert found["accuracy"][0] == pytest.approx(sk.accuracy_score(truth, predicted))
    assert found["mcc"][0] == pytest.approx(sk.matthews_corrcoef(truth, predicted))
    assert found["macro_f1"][0] == pytest.approx(sk.f1_score(truth, predicted, average="macro"))
    balanced = sk.balanced_accuracy_score(truth, predicted)
    assert found["balanced_accuracy"][0] == pytest.approx(balanced)


@pytest.mark.parametrize("name", ["roc_auc", "pr_auc"])
@pytest.mark.parametrize(("rows", "positive"), [(20, 10), (100, 10)])
def test_the_lower_bound_of_an_area_covers_it_at_the_promised_rate(
    name: str, rows: int, positive: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.gate_model.bounds.ROW_DRAWS", 100)
    chance = np.random.default_rng(19)

    def sample(count: int, share: float) -> tuple[np.ndarray, np.ndarray]:
        labels = (np.arange(count) < share * count).astype(np.int64)
        scores = stats.norm.cdf(chance.normal(size=count) + 2.3 * labels)  # an area of 0.95
        return labels, np.column_stack([1 - scores, scores])

    function = sk.roc_auc_score if name == "roc_auc" else sk.average_precision_score
    labels, many = sample(200_000, positive / rows)
    true = np.mean([function(labels == i, many[:, i]) for i in (0, 1)])
    missed, runs = 0, 60
    for _ in range(runs):
        draws = row_draws(*sample(rows, positive / rows), name)
        missed += bool(np.quantile(draws, 1 - CONFIDENCE) > true)
    assert missed <= stats.binom(runs, 1 - CONFIDENCE).ppf(0.999), missed
