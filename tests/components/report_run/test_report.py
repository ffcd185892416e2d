from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.report_run.intervals import by_class, paired_difference, share
from components.report_run.report import render
from components.report_run.scored import Scored
from components.report_run.settings import ReportSettings
from components.report_run.slices import slices

HOSTILE = "<script>alert('x')</script>-->$x^2$"
LABELS = ["好评", HOSTILE]
KINDS = ["single_label_classification", "multi_label_classification", "regression"]
ROWS = 60


def scored(kind: str = KINDS[0], *, champion: bool = True) -> Scored:
    """Test rows of which the candidate has every fifth wrong, the champion every third."""
    places = np.arange(ROWS)
    if kind == "regression":
        truth = list(places / 10.0)
        ours, theirs = ([v + (i % n == 0) for i, v in enumerate(truth)] for n in (5, 3))
        said = [[value] for value in ours]
    else:
        ids = places % 2
        guess, other = (np.where(places % n == 0, 1 - ids, ids) for n in (5, 3))
        said = [
            [0.9 - 0.8 * i - 0.001 * p, 0.1 + 0.8 * i + 0.001 * p]
            for p, i in zip(places, guess, strict=True)
        ]
        truth, ours, theirs = ([LABELS[i] for i in each] for each in (ids, guess, other))
        if kind == "multi_label_classification":
            truth, ours, theirs = ([[label] for label in each] for each in (truth, ours, theirs))
    rows = pd.DataFrame(
        {
            "row": places,
            "file": "reviews.csv",
            "text": [f"{HOSTILE} 房间很干净 {i} " + "x" * i for i in places],
            "city": [("Köln", HOSTILE)[i % 2] for i in places],
            "label": truth,
            "predicted": ours,
            "probabilities": said,
        }
    )
    theirs_too = pd.DataFrame({"predicted": theirs, "probabilities": said}) if champion else None
    return Scored(rows, theirs_too, ["value"] if kind == "regression" else LABELS, kind)


def metrics_of(kind: str) -> dict[str, Any]:
    if kind == "regression":
        return {"rows": ROWS, "mae": 0.2, "rmse": 0.4, "r2": None, "classes": {}}
    common = {"rows": ROWS, "accuracy": 0.8, "macro_f1": 0.8, "log_loss": 0.3, "classes": {}}
    return common if "multi" in kind else {**common, "confusion": [[24, 6], [6, 24]]}


def documents(kind: str = KINDS[0], **changes: Any) -> dict[str, Any]:
    champion = {"metrics": metrics_of(kind)}
    return {
        "verdict": {
            "name": "hotels",
            "decision": "rejected",
            "reason": HOSTILE,
            "run": "r1",
            "candidate": "c1",
            "model": "s3://b/m",
            "evaluation": "s3://b/e",
            "champion_evaluation": "s3://b/c",
            "champion_dataset": "",
            "champion": {"version": "v1", "number": 3},
            "checks": [
                {
                    "name": f"accuracy of {HOSTILE}",
                    "observed": None,
                    "relation": ">=",
                    "bound": 0.8,
                    "passed": False,
                    "why": HOSTILE,
                }
            ],
        },
        "evaluation": {
            "metrics": metrics_of(kind),
            "labels": LABELS,
            "made": {"at": "2026-11-21T12:00:00+00:00", "seconds": 3.0},
            "baselines": {"tfidf": {"accuracy": 0.7, "macro_f1": 0.7}} if kind == KINDS[0] else {},
        },
        "champion": champion,
        "model": {
            "base_model": "b",
            "tokenized": "t",
            "processes": 2,
            "settings": {"zero_stage": 1.0, "head": HOSTILE},
            "summary": {"train_runtime": 3.0, "rows_per_second": 100.0, "steps": 2},
        },
        "finetuned": None,
        "base": None,
        "rows": {"rows": 99, "source": [{"name": HOSTILE}], "made": {"at": "", "seconds": None}},
        "drift": {
            "champion": {"version": "v1"},
            "shifts": [
                {
                    "name": "vocabulary",
                    "shifted": True,
                    "effect": 0.2,
                    "bound": 0.05,
                    "sentence": "more texts have 干净",
                }
            ],
        },
        "tokens": {
            "max_length": 64,
            "findings": [],
            "splits": {
                "train": {
                    "rows": 8,
                    "tokens": 80,
                    "truncated": 1,
                    "unknown": 2,
                    "lengths": [0, 7, 1],
                }
            },
        },
        "dataset": {
            "fingerprint": "d",
            "splits": {
                "test": {
                    "rows": ROWS,
                    "labels": {HOSTILE: 30},
                    "characters": {"median": 3.0, "longest": 9},
                }
            },
            "findings": [
                {
                    "count": 1,
                    "sentence": "no text",
                    "action": "dropped",
                    "rows": [HOSTILE],
                    "detail": {"phrases": {"rarely": 2, "房间很干净": 40}},
                }
            ],
        },
        "points": [
            {"step": 1, "loss": 0.7, "learning_rate": 1e-4, "rows_per_second": 90.0},
            {"step": 2, "loss": 0.6, "learning_rate": 1e-5, "rows_per_second": 99.0},
            {"step": 2, "eval_loss": 0.6, "eval_accuracy": 0.8, "eval_macro_f1": 0.8},
        ],
        **changes,
    }


def page_of(kind: str = KINDS[0], *, show_texts: bool = True, **changes: Any) -> str:
    settings = ReportSettings(show_texts=show_texts)
    return render(scored(kind), settings, **documents(kind, **changes)).decode()


class Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [v or "" for name, v in attrs if name == "id"]
        self.addresses += [v or "" for name, v in attrs if name in ("src", "href", "xlink:href")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_escapes_what_it_shows_and_loads_nothing(kind: str) -> None:
    page = Page(page_of(kind))
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(page.tags)
    assert [each for each in page.addresses if not each.startswith("#")] == []
    assert HOSTILE in page.text
    assert set(page.addresses) <= {f"#{each}" for each in page.ids}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_problem_has_its_charts_each_with_a_name_and_a_table(kind: str) -> None:
    page = page_of(kind)
    charts = 4 + {KINDS[0]: 3, KINDS[1]: 3, "regression": 2}[kind]
    assert page.count("<svg") == page.count('role="img" aria-label=') == charts
    assert page.count("<summary>As a table") == charts
    assert "var(--first)" in page
    assert "#03030" not in page


def test_the_verdict_comes_first_and_everything_else_is_there() -> None:
    text = Page(page_of()).text
    parts = ["rejected", "Checks", "Metrics on 60", "By class", "Confusion matrix", "Slices"]
    parts += ["Most confident mistakes", "Training", "Stages", "Findings", "Drift", "Lineage"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "TF-IDF + logistic regression" in text


def test_the_privacy_switch_takes_every_text_out() -> None:
    assert "房间很干净 | rarely" in page_of()
    hidden = page_of(show_texts=False)
    assert "干净" not in hidden
    assert "reviews.csv:55" in hidden


def test_the_surest_mistake_is_the_first() -> None:
    text = Page(page_of()).text
    assert text.index("reviews.csv:0\n") < text.index("reviews.csv:55\n")


def test_the_same_run_gives_the_same_bytes() -> None:
    assert page_of() == page_of()


def test_a_page_needs_no_champion_no_training_and_no_tokens() -> None:
    bare = documents(
        champion=None, tokens=None, drift=None, points=[], rows=None, base=None,
        model={"base_model": "", "tokenized": "", "settings": {}},
    )  # fmt: skip
    bare["verdict"] |= {"champion": None, "champion_evaluation": "", "checks": []}
    bare["dataset"]["splits"] = {"test": {"rows": ROWS}}
    text = Page(render(scored(champion=False), ReportSettings(), **bare).decode()).text
    assert "no champion before it" in text
    assert "Candidate minus champion" not in text


def test_a_class_has_the_figures_of_scikit_learn_within_their_intervals() -> None:
    from sklearn.metrics import precision_recall_fscore_support

    test = scored()
    expected = precision_recall_fscore_support(
        test.rows["label"], test.rows["predicted"], labels=LABELS
    )
    for index, row in enumerate(by_class(test)):
        for column, name in enumerate(("precision", "recall", "f1")):
            found = row[name]
            assert found.value == pytest.approx(expected[column][index])
            assert found.low < found.value < found.high
        assert row["rows"] == expected[3][index]


def test_an_interval_of_a_share_holds_the_truth_as_often_as_it_says() -> None:
    drawn = np.random.default_rng(0).binomial(40, 0.9, size=2000)
    intervals = [share(count, 40) for count in range(41)]
    held = [intervals[count].low <= 0.9 <= intervals[count].high for count in drawn]
    assert np.mean(held) >= 0.95


def test_an_interval_of_a_difference_holds_the_truth_about_as_often_as_it_says() -> None:
    chance = np.random.default_rng(0)
    held = []
    for _ in range(1500):
        outcome = chance.choice(4, size=80, p=[0.80, 0.08, 0.04, 0.08])
        ours, theirs = np.isin(outcome, (0, 1)), np.isin(outcome, (0, 2))
        found = paired_difference(ours, theirs)
        held.append(found.low <= 0.04 <= found.high)
    assert 0.94 <= np.mean(held) <= 0.98


def test_slices_are_by_label_length_and_column_against_the_champion() -> None:
    parts = {(each.by, each.name): each for each in slices(scored())}
    assert {by for by, _ in parts} == {"all", "label", "length", "city"}
    whole = parts["all", "all rows"]
    assert (whole.candidate, whole.champion) == (0.8, pytest.approx(2 / 3))
    assert whole.difference is not None
    assert whole.difference.value == pytest.approx(0.8 - 2 / 3)
    assert sum(each.rows for each in parts.values() if each.by == "length") == ROWS


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_the_champion_learned_from_are_not_compared(kind: str) -> None:
    test = scored(kind)
    assert test.champion is not None
    new = replace(test, champion=test.champion[-10:])
    parts = slices(new)
    assert [part.rows for part in parts] == [part.rows for part in slices(test)]
    assert [part.candidate for part in parts] == [part.candidate for part in slices(test)]
    assert sum(part.compared for part in parts if part.by == "length") == 10
    assert all((part.champion is None) == (part.compared == 0) for part in parts)
    assert {part.compared for part in parts if part.by == "length"} >= {0}  # the longest are last
    [alone, *_] = slices(replace(new, rows=test.rows[-10:]))
    assert (parts[0].champion, parts[0].difference) == (alone.champion, alone.difference)
    text = Page(render(new, ReportSettings(), **documents(kind)).decode()).text
    assert f"The champion learned from {ROWS - 10} of the test rows" in text


@pytest.mark.parametrize("kind", KINDS)
def test_a_champion_that_learned_from_every_test_row_is_compared_on_none(kind: str) -> None:
    test = scored(kind)
    assert test.champion is not None
    page = render(replace(test, champion=test.champion[:0]), ReportSettings(), **documents(kind))
    text = Page(page.decode()).text
    assert f"The champion learned from {ROWS} of the test rows" in text
    assert "Candidate minus champion" not in text
