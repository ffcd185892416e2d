from html.parser import HTMLParser
from typing import Any

from components.report_run.report import render

HOSTILE = "<script>alert('x')</script>"


def documents(**changes: Any) -> dict[str, Any]:
    metrics = {
        "rows": 10,
        "accuracy": 0.9,
        "macro_precision": 0.9,
        "macro_recall": 0.9,
        "macro_f1": 0.9,
        "log_loss": 0.3,
        "confusion": [[4, 1], [0, 5]],
        "classes": {
            label: {"precision": 0.9, "recall": 0.8, "f1": 0.85, "support": 5}
            for label in ("好评", HOSTILE)
        },
    }
    common: dict[str, Any] = {
        "verdict": {
            "name": "hotels",
            "decision": "accepted",
            "reason": HOSTILE,
            "run": "r1",
            "candidate": "c1",
            "model": "s3://b/m",
            "evaluation": "s3://b/e",
            "champion": None,
            "checks": [
                {
                    "name": "accuracy",
                    "observed": None,
                    "relation": ">=",
                    "bound": 0.8,
                    "passed": False,
                    "why": HOSTILE,
                }
            ],
        },
        "evaluation": {
            "metrics": metrics,
            "labels": ["好评", HOSTILE],
            "baselines": {
                name: {"accuracy": 0.5, "macro_f1": 0.4} for name in ("majority", "tfidf")
            },
        },
        "champion": None,
        "model": {
            "base_model": "b",
            "tokenized": "t",
            "processes": 2,
            "settings": {"zero_stage": 1.0},
            "summary": {"train_runtime": 3.0, "rows_per_second": 100.0},
        },
        "drift": {
            "champion": {"version": "v1"},
            "shifts": [
                {
                    "name": "label",
                    "shifted": True,
                    "effect": 0.2,
                    "bound": 0.05,
                    "sentence": HOSTILE,
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
                    "rows": 10,
                    "labels": {HOSTILE: 5},
                    "characters": {"median": 3.0, "longest": 9},
                }
            },
            "findings": [
                {"count": 1, "sentence": "no text", "action": "dropped", "rows": [HOSTILE]}
            ],
        },
        "points": [
            {"step": 1, "loss": 0.7, "learning_rate": 1e-4},
            {"step": 2, "eval_loss": 0.6, "eval_accuracy": 0.8, "eval_macro_f1": 0.8},
        ],
    }
    return {**common, **changes}


class Page(HTMLParser):
    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for name, v in attrs if name in ("src", "href", "xlink:href")]


def test_the_page_escapes_what_it_shows_and_loads_nothing() -> None:
    page = Page(render(**documents()))
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert [each for each in page.addresses if not each.startswith("#")] == []


def test_it_shows_verdict_classes_curves_and_findings() -> None:
    page = render(**documents()).decode()
    for part in ("accepted", "好评", "undefined", "no text: dropped", "0.8500", "<svg"):
        assert part in page
    assert page.count("<svg") == 3


def test_the_same_run_gives_the_same_bytes() -> None:
    assert render(**documents()) == render(**documents())
