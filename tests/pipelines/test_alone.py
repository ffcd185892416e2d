"""evaluate, gate, promote and rollback on a plain Hugging Face folder and a labelled file."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import candidates, promotions, storage
from components.promote_model.promotion import RolledBackError
from pipelines.local import raise_if_rolled_back
from pipelines.status import stop_all
from tests.conftest import hotel_rows

ROOT = Path(__file__).parent.parent.parent
RULES: dict[str, Any] = {
    "gate": {
        "minimum": {"accuracy": 0.0},
        "beat": {},
        "champion": {"margin": 0.9},
        "serving": {"rows": 4, "p99_ms": 30000},
    }
}


@pytest.fixture
def home(s3: dict[str, str], tmp_path: Path, tiny_model: Path) -> Path:
    lines = [f"{text}\t{label}" for text, label in hotel_rows(60)]
    (tmp_path / "reviews.tsv").write_text("\n".join(["review\tstars", *lines]))
    shutil.copytree(tiny_model, tmp_path / "first")
    second = Path(shutil.copytree(tiny_model, tmp_path / "second"))
    config = json.loads((second / "config.json").read_text())
    (second / "config.json").write_text(json.dumps({**config, "note": "another version"}))
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    light = {"gate": {**RULES["gate"], "serving": None}}  # one start of the predictor is enough
    (tmp_path / "light.yaml").write_text(yaml.safe_dump(light))
    serving = {**RULES["gate"]["serving"], "memory_mb": 1}
    strict = {"gate": {**RULES["gate"], "minimum": {"accuracy": 1.0}, "serving": serving}}
    strict["gate"]["data"] = {"conflicts": 0.0}
    (tmp_path / "strict.yaml").write_text(yaml.safe_dump(strict))
    return tmp_path


def finegate(home: Path, store: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            *(sys.executable, "-c", "from pipelines.cli import main; main()", *arguments),
            *("--store", store),
        ],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=180,
    )


COLUMNS = ("--set", "text=review", "--set", "label=stars")


def test_any_folder_is_evaluated_judged_promoted_and_rolled_back(home: Path, store: str) -> None:
    scored = finegate(home, store, "evaluate", "m", "first", "reviews.tsv", *COLUMNS)
    assert scored.returncode == 0, scored.stdout + scored.stderr
    assert re.search(r"candidate: accuracy 0\.\d{4}, macro F1 .* on 60 test rows", scored.stdout)
    refused = finegate(
        home, store, "gate", "m", "first", "reviews.tsv", *COLUMNS, "--config", "strict.yaml"
    )
    assert refused.returncode == 3, refused.stdout + refused.stderr
    assert "rejected: 2 of 4 checks failed: accuracy is 0." in refused.stdout
    assert "the predictor took" in refused.stdout
    assert "gate.data is left out" in refused.stdout
    try:
        versions = []
        for folder, rules in (("first", "rules.yaml"), ("second", "light.yaml")):
            gated = finegate(
                home, store, "gate", "m", folder, "reviews.tsv", *COLUMNS, "--config", rules
            )
            assert gated.returncode == 0, gated.stdout + gated.stderr
            run = re.search(r"^run: (\S+)$", gated.stdout, re.MULTILINE)
            assert run
            promoted = finegate(home, store, "promote", run[1])
            assert promoted.returncode == 0, promoted.stdout + promoted.stderr
            found = re.search(r"m (\w{12}) answers at http", promoted.stdout)
            assert found
            versions.append(found[1])
        told = finegate(home, store, "diff", "m")
        assert versions[0] in told.stdout
        assert "file config.json" in told.stdout
        pinned = finegate(home, store, "pin", "m", "--reason", "busy week")
        assert pinned.returncode == 0, pinned.stderr
        assert finegate(home, store, "unpin", "m").returncode == 0
        back = finegate(home, store, "rollback", "m")
        assert back.returncode == 0, back.stderr
        assert f"m {versions[0]} is the champion again" in back.stdout
        card = storage.read_bytes(f"{store}/models/m/{versions[0]}/README.md")
        assert card is not None
        assert yaml.safe_load(card.decode().split("---")[1])["library_name"] == "transformers"
    finally:
        list(stop_all(home / ".finegate"))


def test_a_folder_that_is_no_model_is_refused_in_one_paragraph(home: Path, store: str) -> None:
    for folder, says in (("nowhere", "there is no folder nowhere"), (".", "not a Hugging Face")):
        ended = finegate(home, store, "evaluate", "m", folder, "reviews.tsv", *COLUMNS)
        assert ended.returncode == 1
        assert says in ended.stderr
        assert "Traceback" not in ended.stdout + ended.stderr
    wrong = finegate(home, store, "evaluate", "m", "first", "reviews.tsv", "--set", "textt=review")
    assert "textt" in wrong.stderr


def test_a_verdict_that_waits_is_promoted_once_a_person_approves(home: Path, store: str) -> None:
    gate = {**RULES["gate"], "serving": None, "approve": "manual"}
    rules = {"gate": gate, "promotion": {"target": {"kind": "log"}}}
    (home / "manual.yaml").write_text(yaml.safe_dump(rules))
    config = ("--config", "manual.yaml")
    gated = finegate(home, store, "gate", "m", "first", "reviews.tsv", *COLUMNS, *config)
    found = re.search(r"^run: (\S+)$", gated.stdout, re.MULTILINE)
    assert found, gated.stdout + gated.stderr
    waits = finegate(home, store, "promote", found[1], *config)
    assert waits.returncode == 5
    assert f"finegate approve {found[1]}" in waits.stdout
    assert promotions.champion(store, "m") is None
    approved = finegate(home, store, "approve", found[1], *config)
    assert approved.returncode == 0, approved.stdout + approved.stderr
    champion = promotions.champion(store, "m")
    assert champion is not None
    assert champion.run == found[1]
    [(_, listed)] = candidates.judged_last(store, 5)
    assert listed.decision == "accepted"
    assert "Approved by" in listed.reason
    for reason in (listed.reason, champion.reason):
        assert "finegate approve" not in reason
    at = promotions.since(store, "m")
    assert finegate(home, store, "pin", "m", *config).returncode == 0
    assert finegate(home, store, "unpin", "m").returncode == 0
    assert promotions.since(store, "m") == at


def test_a_run_whose_candidate_went_back_is_told_from_one_that_failed(store: str) -> None:
    champion = None
    for action, version, run in (
        ("promote", "a", "r1"),
        ("promote", "b", "r2"),
        ("rollback", "a", "r2"),
    ):
        champion = promotions.append(
            store, "m", champion, action=action, version=version, run=run, reason="b is broken"
        )
    raise_if_rolled_back(store, "m", "r1")
    with pytest.raises(RolledBackError, match="The champion of m is a"):
        raise_if_rolled_back(store, "m", "r2")
