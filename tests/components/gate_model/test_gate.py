"""The gate as a whole on real S3 with a real classifier; the serving check has its own tests."""

import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from components import folders, promotions, storage
from components.evaluate_model.evaluation import evaluate
from components.gate_model import verdict as verdict_module
from components.gate_model.robustness import REWRITES, robustness_checks
from components.gate_model.settings import Robustness, SliceRule
from components.gate_model.slices import slice_checks
from components.gate_model.verdict import Verdict
from components.promote_model.approval import approve
from components.promote_model.interventions import pin, unpin
from components.promote_model.promotion import promote
from components.promote_model.settings import PromotionSettings
from components.report_run.scored import scored
from serving.errors import InputError
from serving.settings import SERVING
from tests.components import exported
from tests.conftest import hotel_rows

LOG_ONLY = PromotionSettings()
OPEN: dict[str, Any] = {"beat": {}, "serving": None, "champion": {"margin": 0.1}}


def published(store: str, model: Path, version: str, labels: list[str] | None = None) -> str:
    """A fine-tuned model on S3; `labels` renames its outputs."""
    folder = Path(shutil.copytree(model, model.parent / f"{model.name}-{version}-{store[-12:]}"))
    config = json.loads((folder / "config.json").read_text())
    names = labels or [config["id2label"][key] for key in sorted(config["id2label"])]
    config["id2label"] = dict(enumerate(names))
    config["label2id"] = {name: index for index, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(config))
    return exported.publish(store, folder, version, names)


def rows_for(store: str, tmp_path: Path, labels: dict[str, str] | None = None) -> str:
    folder = tmp_path / f"rows-{len(labels or {})}"
    folder.mkdir()
    frame = pd.DataFrame(hotel_rows(120), columns=["text", "label"])
    frame["label"] = frame["label"].map(lambda name: (labels or {}).get(name, name))
    frame.insert(0, "row", range(120))
    frame.insert(1, "file", "d.csv")
    frame.to_parquet(folder / "test.parquet")
    facts = {
        "fingerprint": folder.name,
        "rows": 200,
        "splits": {"test": {"rows": 120}},
        "findings": [{"name": "conflicts", "count": 10, "action": "dropped"}],
    }
    folders.publish(folder, f"{store}/validated/{folder.name}", facts)
    return f"{store}/validated/{folder.name}"


def judged(store: str, model: str, dataset: str, run: str, **settings: Any) -> Verdict:
    return exported.judged(store, "m", run, model, dataset, {**OPEN, **settings})


def test_every_kind_of_rule_gives_its_checks(store: str, tiny_model: Path, tmp_path: Path) -> None:
    verdict = judged(
        store,
        published(store, tiny_model, "a1"),
        rows_for(store, tmp_path),
        "r1",
        minimum={"accuracy": 0.0, "pr_auc": 0.0},
        maximum={"calibration_error": 1.0, "log_loss": 99.0},
        classes={"praise": {"recall": 0.0}},
        confidence=0.95,
        slices={"length": {"rows": 10, "gap": 0.9}, "label": {"rows": 10, "accuracy": 0.01}},
        robustness={"rules": list(REWRITES), "flips": 1.0, "rows": 40},
        data={"conflicts": 0.02, "leakage": 0.0},
    )
    names = {check.name: check for check in verdict.checks}
    assert {
        "accuracy, lower bound",
        "pr_auc, lower bound",
        "calibration_error, upper bound",
        "log_loss, upper bound",
        "recall of praise, lower bound",
        "gap in accuracy by length",
        "accuracy where label is praise, lower bound",
        "labels changed by full width",
        "share of rows with conflicts",
        "share of rows with leakage",
    } <= set(names)
    assert verdict.decision == "rejected"
    assert names["share of rows with conflicts"].observed == 0.05
    assert "share of rows with conflicts is 0.0500" in verdict.reason
    written = storage.read_json(f"{store}/runs/r1/verdict.json")
    assert Verdict.model_validate(written) == verdict


def test_other_labels_than_the_champions_need_a_word(
    store: str, tiny_model: Path, tmp_path: Path
) -> None:
    judged(store, published(store, tiny_model, "a1"), rows_for(store, tmp_path), "r1")
    promote(store, "m", "r1", LOG_ONLY)
    renamed = {"praise": "good", "blame": "bad", "neutral": "so-so"}
    other = published(store, tiny_model, "b2", [renamed[n] for n in ("praise", "blame", "neutral")])
    dataset = rows_for(store, tmp_path, renamed)
    verdict = judged(store, other, dataset, "r2")
    assert verdict.decision == "rejected"
    assert "without blame, neutral, praise; new bad, good, so-so" in verdict.reason
    assert "--allow-label-change" in verdict.reason
    assert judged(store, other, dataset, "r3", allow_label_change=True).decision == "accepted"
    promote(store, "m", "r3", LOG_ONLY)
    assert len(promotions.history(store, "m")) == 2


@pytest.mark.parametrize("learned", [70, 120, None])
def test_rows_that_the_champion_learned_from_do_not_count_for_it(
    learned: int | None,
    store: str,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset = rows_for(store, tmp_path)
    judged(store, published(store, tiny_model, "a1"), dataset, "r1")
    promote(store, "m", "r1", LOG_ONLY)
    candidate = published(store, tiny_model, "b2")
    if learned is None:
        judged(store, candidate, dataset, "r2")
        assert "validated/d/ is no longer there" in capsys.readouterr().out
        return
    folder = tmp_path / "theirs"
    folder.mkdir()
    frame = pd.DataFrame(hotel_rows(120), columns=["text", "label"])
    frame["text"] = "  " + frame["text"].str.upper()
    frame[: learned - 10].to_parquet(folder / "train.parquet")
    frame[learned - 10 : learned].to_parquet(folder / "validation.parquet")
    folders.publish(folder, f"{store}/validated/d", {"fingerprint": "d"})
    if learned == 120:
        verdict = judged(store, candidate, dataset, "r2")
        assert verdict.decision == "rejected"
        assert "learned from each of the 120 test rows" in verdict.reason
        return
    verdict = judged(store, candidate, dataset, "r2", champion={"margin": 0.2})
    [check] = [check for check in verdict.checks if "against champion" in check.name]
    assert "on the same 50 rows (without 70 from which the champion learned)" in check.why
    assert verdict.champion_dataset == f"{store}/validated/d"
    known = scored(dataset, verdict.evaluation, verdict.champion_evaluation, f"{store}/validated/d")
    assert known.champion is not None
    assert list(known.champion.index) == list(range(70, 120))
    again = judged(store, candidate, dataset, "r3", champion={"margin": 0.2})
    assert again.checks == verdict.checks


def test_a_verdict_can_wait_for_a_person(
    store: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, dataset = published(store, tiny_model, "a1"), rows_for(store, tmp_path)
    verdict = judged(store, model, dataset, "r1", approve="manual")
    assert verdict.decision == "waiting"
    assert "finegate approve r1" in capsys.readouterr().out
    assert promote(store, "m", "r1", LOG_ONLY) == ""
    assert promotions.champion(store, "m") is None
    for _ in range(2):
        approve(store, "r1")
    promote(store, "m", "r1", LOG_ONLY)
    assert promotions.champion(store, "m") is not None
    with pytest.raises(InputError, match="run r9 has no verdict"):
        approve(store, "r9")


def test_no_promotion_follows_a_pin(store: str, tiny_model: Path, tmp_path: Path) -> None:
    dataset = rows_for(store, tmp_path)
    judged(store, published(store, tiny_model, "a1"), dataset, "r1")
    promote(store, "m", "r1", LOG_ONLY)
    pinned = pin(store, "m", LOG_ONLY, None, "audit")
    assert pin(store, "m", LOG_ONLY, None, "audit") == pinned
    second = published(store, tiny_model, "b2")
    judged(store, second, dataset, "r2")
    with pytest.raises(InputError, match=r"is pinned to a10000000000 by .*audit"):
        promote(store, "m", "r2", LOG_ONLY)
    unpin(store, "m")
    judged(store, second, dataset, "r3")
    promote(store, "m", "r3", LOG_ONLY)
    events = promotions.history(store, "m")
    assert [event.action for event in events] == ["promote", "pin", "unpin", "promote"]
    assert promotions.predecessor(events) == events[0].version


def test_the_verdicts_schema_is_the_one_that_ships() -> None:
    """Programs that read verdicts rely on it; make it anew with the line that is compared here."""
    shipped = Path(verdict_module.__file__).with_name("verdict.schema.json").read_text()
    assert json.loads(shipped) == Verdict.model_json_schema()


def test_slices_tell_the_weakest_part_and_leave_small_ones_out() -> None:
    rows = pd.DataFrame({"text": ["x" * n for n in range(1, 101)], "shop": ["a"] * 95 + ["b"] * 5})
    right = pd.Series(np.arange(100) < 75)
    checks = slice_checks(right, rows, "length", SliceRule(rows=20, accuracy=0.5, gap=0.5), 0)
    failed = [check for check in checks if not check.passed]
    assert [check.name for check in failed] == [
        "accuracy where length is longest quarter",
        "gap in accuracy by length",
    ]
    assert slice_checks(right, rows, "shop", SliceRule(rows=20, gap=0.0), 0) == []
    with pytest.raises(InputError, match="the column region"):
        slice_checks(right, rows, "region", SliceRule(), 0)


def test_rewritings_change_what_they_say_and_no_more() -> None:
    assert REWRITES["spaces"]("so good") == "  so  good "
    assert [REWRITES["punctuation"](text) for text in ("很好", "很好。", "ok", "ok!")] == [
        "很好。",
        "很好",
        "ok.",
        "ok",
    ]
    assert REWRITES["case"]("Good") == "good"
    assert REWRITES["full_width"]("A 1。") == "Ａ　１。"


def test_a_model_that_hangs_on_spelling_is_told(tiny_model: Path) -> None:
    """The tiny tokenizer lower-cases, so case changes nothing; full-width words are unknown."""
    rows = pd.DataFrame(hotel_rows(60), columns=["text", "label"])
    case, full = robustness_checks(
        tiny_model, rows, Robustness(rules=["case", "full_width"], flips=0.0)
    )
    assert (case.observed, case.passed) == (0.0, True)
    assert full.observed is not None
    assert full.observed > 0
    assert not full.passed
    assert "rewriting full width changes the label of" in full.why


def test_long_texts_that_the_endpoint_rejects_are_scored_and_not_asked(
    store: str, tiny_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (folder / SERVING).write_text(json.dumps({"backend": "pytorch", "long_texts": "reject"}))
    model = published(store, folder, "a1")
    frame = pd.DataFrame(hotel_rows(40), columns=["text", "label"])
    long = frame.index % 2 == 0
    frame.loc[long, "text"] += " the room was quiet and the breakfast was good" * 4
    frame.insert(0, "row", range(40))
    frame.insert(1, "file", "d.csv")
    rows = tmp_path / "rows"
    rows.mkdir()
    frame.to_parquet(rows / "test.parquet")
    facts = {"fingerprint": "r", "rows": 40, "splits": {"test": {"rows": 40}}, "findings": []}
    folders.publish(rows, f"{store}/validated/r", facts)
    serving = {"rows": 40, "p99_ms": 60_000, "memory_mb": 60_000}
    verdict = judged(store, model, f"{store}/validated/r", "r1", serving=serving)
    assert verdict.decision == "accepted", verdict.reason
    assert any("20 test rows" in check.why for check in verdict.checks)
    golden = storage.read_json(f"{verdict.evaluation}/golden.json")
    assert golden is not None
    asked = {row["text"] for row in golden["rows"]}
    assert asked == set(frame.loc[~long, "text"])

    frame[long].to_parquet(rows / "test.parquet")
    folders.publish(rows, f"{store}/validated/l", {**facts, "fingerprint": "l"})
    with pytest.raises(InputError, match="all 20 test rows are longer than the 24 tokens"):
        judged(store, model, f"{store}/validated/l", "r2")


SERVING_CHECK = """
import sys
from components.gate_model.serving_check import serving_checks
from components.gate_model.settings import ServingCheck
serving_checks(*sys.argv[1:], ServingCheck(rows=1))
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_terminal_that_is_closed_leaves_no_predictor_behind(
    number: signal.Signals, store: str, tiny_model: Path, tmp_path: Path
) -> None:
    model, dataset = published(store, tiny_model, "a1"), rows_for(store, tmp_path)
    evaluation = evaluate(store, model, dataset, "m").candidate
    checking = psutil.Popen([sys.executable, "-c", SERVING_CHECK, model, evaluation, dataset])
    deadline = time.monotonic() + 60
    while not (predictors := checking.children()):
        assert checking.is_running()
        assert time.monotonic() < deadline
    checking.send_signal(number)
    assert checking.wait(60) == 128 + number
    _, alive = psutil.wait_procs(predictors, timeout=60)
    assert alive == []
