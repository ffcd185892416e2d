"""Whether the training texts are still like those that the champion learned from.

Three two-sample tests, each with an effect size: rows by label (chi-squared, total variation
distance; where rows have several, the least p-value of the labels times their number, and the
largest difference of a label's share of rows), text lengths (Kolmogorov-Smirnov), and vocabulary
(a classifier two-sample test, Lopez-Paz and Oquab, arXiv:1610.06545: naive Bayes learns to tell the
two apart by their words, and a Mann-Whitney test says whether it can on texts that it never saw).
P-values are corrected by Holm's method.
"""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict
from scipy import stats
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.naive_bayes import MultinomialNB

from components.problem_types import MULTI, REGRESSION
from components.texts import normalized
from components.validate_dataset.labels import counts
from components.validate_dataset.settings import DriftSettings
from components.validate_dataset.texts import terms

TERMS_NAMED = 12
_FEWEST = 20
"""Texts that each side of a test needs."""


class Shift(BaseModel):
    """One test of one property."""

    model_config = ConfigDict(frozen=True)

    name: str
    test: str
    p_value: float
    """Corrected for the number of tests."""
    effect: float
    bound: float
    shifted: bool
    sentence: str


def shifts(
    ours: pd.DataFrame, theirs: pd.DataFrame, settings: DriftSettings, problem_type: str
) -> list[Shift]:
    """The tests of our training rows against the champion's; both frames have text and label.

    Empty where either has fewer than 20 rows: nothing can be told.
    """
    if min(len(ours), len(theirs)) < _FEWEST:
        return []
    tests = [
        _labels(ours, theirs, settings, problem_type),
        _lengths(ours, theirs, settings),
        _vocabulary(ours, theirs, settings),
    ]
    corrected = _holm([each["p_value"] for each in tests])
    return [
        Shift(
            **{**each, "p_value": p},
            shifted=p < settings.alpha and each["effect"] >= each["bound"],
        )
        for each, p in zip(tests, corrected, strict=True)
    ]


def _holm(p_values: list[float]) -> list[float]:
    """Holm 1979: the k-th smallest of m p-values times m - k + 1, never below one before it."""
    order = np.argsort(p_values)
    result, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        result[index] = highest
    return result


def _labels(
    ours: pd.DataFrame, theirs: pd.DataFrame, settings: DriftSettings, problem_type: str
) -> dict[str, Any]:
    if problem_type == REGRESSION:
        one, other = ours["label"].astype(float), theirs["label"].astype(float)
        result = stats.ks_2samp(one, other)
        sentence = f"labels have the median {one.median():.4g}, the champion's {other.median():.4g}"
        return {
            "name": "label",
            "test": "Kolmogorov-Smirnov",
            "p_value": float(result.pvalue),
            "effect": float(result.statistic),
            "bound": settings.label,
            "sentence": sentence,
        }
    mine, champions = counts(ours, problem_type), counts(theirs, problem_type)
    names = sorted({*mine, *champions})
    table = np.array([[side.get(name, 0) for name in names] for side in (mine, champions)])
    rows = np.array([[len(ours)], [len(theirs)]])
    shares = table / rows
    changes = shares[0] - shares[1]
    if problem_type == MULTI:  # each label with and without it: they come and go together
        tables = [np.hstack([table[:, [i]], rows - table[:, [i]]]) for i in range(len(names))]
        p_value = min(1.0, len(names) * min(map(_contingency, tables), default=1.0))
        effect = float(np.abs(changes).max(initial=0))
    else:
        p_value, effect = _contingency(table), float(np.abs(changes).sum() / 2)
    most = sorted(range(len(names)), key=lambda index: -abs(changes[index]))[:3]
    told = ", ".join(f"{names[i]} {shares[0][i]:.1%} (champion {shares[1][i]:.1%})" for i in most)
    return {
        "name": "label",
        "test": "chi-squared",
        "p_value": p_value,
        "effect": effect,
        "bound": settings.label,
        "sentence": f"rows by label: {told}",
    }


def _contingency(table: npt.NDArray[np.int64]) -> float:
    """The p-value of a table [2, C], whose columns of nothing tell nothing."""
    table = table[:, table.any(axis=0)]
    if table.shape[1] < 2:
        return 1.0
    return float(stats.chi2_contingency(table, correction=False).pvalue)


def _lengths(ours: pd.DataFrame, theirs: pd.DataFrame, settings: DriftSettings) -> dict[str, Any]:
    one, other = ours["text"].str.len(), theirs["text"].str.len()
    result = stats.ks_2samp(one, other, method="asymp")
    return {
        "name": "length",
        "test": "Kolmogorov-Smirnov",
        "p_value": float(result.pvalue),
        "effect": float(result.statistic),
        "bound": settings.length,
        "sentence": f"texts have a median of {one.median():.0f} characters, the champion's "
        f"{other.median():.0f}",
    }


def _vocabulary(
    ours: pd.DataFrame, theirs: pd.DataFrame, settings: DriftSettings
) -> dict[str, Any]:
    sides = [
        side["text"].sample(min(len(side), settings.rows), random_state=seed).map(normalized)
        for seed, side in enumerate((ours, theirs))
    ]
    size = min(map(len, sides))
    texts = [text for side in sides for text in side[:size]]
    source = np.repeat([1, 0], size)
    learned = np.random.default_rng(0).permutation(2 * size) < size
    words = HashingVectorizer(analyzer=terms, n_features=2**18, norm="l2", alternate_sign=False)
    features = words.transform(texts)
    judge = MultinomialNB(alpha=0.1).fit(features[learned], source[learned])
    likelihoods = judge.predict_joint_log_proba(features[~learned])
    scores = likelihoods[:, 1] - likelihoods[:, 0]
    held = source[~learned]
    result = stats.mannwhitneyu(scores[held == 1], scores[held == 0], alternative="greater")
    pairs = int((held == 1).sum()) * int((held == 0).sum())
    more, fewer = _telling_terms(texts, source)
    return {
        "name": "vocabulary",
        "test": "classifier two-sample, Mann-Whitney",
        "p_value": float(result.pvalue),
        "effect": float(result.statistic) / pairs,
        "bound": settings.vocabulary,
        "sentence": f"more texts than the champion's have {', '.join(more)}; fewer have "
        f"{', '.join(fewer)}",
    }


def _telling_terms(texts: list[str], source: npt.NDArray[np.int64]) -> tuple[list[str], list[str]]:
    """The words whose share of texts rose and fell most; single characters in pairs."""

    def words(text: str) -> set[str]:
        found = terms(text)
        single = [term for term in found if len(term) == 1 and not term.isascii()]
        return {*found, *map("".join, pairwise(single))} - set(single)

    rises: Counter[str] = Counter()
    for text, ours in zip(texts, source, strict=True):
        for word in words(text):
            rises[word] += 1 if ours else -1
    ranked = sorted(rises, key=lambda word: (-rises[word], word))
    return (
        [word for word in ranked[:TERMS_NAMED] if rises[word] > 0],
        [word for word in ranked[::-1][:TERMS_NAMED] if rises[word] < 0],
    )
