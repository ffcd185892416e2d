"""Training that is killed, in real processes: what it goes on from, and what it ends in."""

import json
import os
import random
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components import folders, storage
from tests.components.finetune_model.network import Link
from tests.components.finetune_model.step_process import EVERY_STEP, Step
from tests.components.finetune_model.test_finetuning import publish

GIVEN = {
    "epochs": 30,
    "learning_rate": 3e-3,
    "precision": "fp32",
    "evaluations": 4,
    "best_metric": "loss",
    "processes": 2,
    "zero_stage": 2,
    "checkpoint_minutes": EVERY_STEP,
}


@pytest.fixture(scope="module")
def inputs(
    s3: dict[str, str], tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str]:
    """Tokens and a base model with dropout, so that the generators' states matter."""
    folder = tmp_path_factory.mktemp("inputs")
    model = folder / "model"
    model.mkdir()
    for path in tiny_model.iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    config = json.loads((model / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    (model / "config.json").write_text(json.dumps(config))
    return publish("s3://finegate/resuming", model, folder)


@pytest.fixture(scope="module")
def calm(inputs: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Step:
    """The same training, left alone and without checkpoints."""
    log = tmp_path_factory.mktemp("calm") / "calm.log"
    step = Step("s3://finegate/calm", inputs, {**GIVEN, "checkpoint_minutes": 60}, log)
    step.wait()
    return step


def assert_identical(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Every weight has the same bits, but for a NaN, which no weight may be."""
    assert one.keys() == other.keys()
    differing = [name for name in one if not np.array_equal(one[name], other[name])]
    assert differing == []


@pytest.mark.timeout(900)
def test_ten_kills_at_random_moments_end_in_the_weights_of_a_run_without(
    store: str, inputs: tuple[str, str], calm: Step, tmp_path: Path
) -> None:
    """Of each process alone and of all at once; while they start, train and upload."""
    chance = random.Random(4)
    expected = calm.weights()
    hits = dict.fromkeys(("rank 0", "rank 1", "launcher", "step", "group"), 0)
    reached = [0]
    while sum(hits.values()) < 10:
        step = Step(store, inputs, GIVEN, tmp_path / "killed.log")
        if chance.random() < 0.4:
            ended = step.ended_within(chance.uniform(0, 8))
        else:
            step.wait_for_checkpoint(reached[-1] + chance.randint(1, 10))
            ended = step.ended_within(chance.uniform(0, 0.4))
        if ended:  # a fast machine: begin again
            assert_identical(step.weights(), expected)
            storage.delete(f"{step.job.result}/{key}" for key in storage.list_keys(step.job.result))
            reached.append(0)
            continue
        hits[step.kill(*sorted(hits, key=hits.__getitem__))] += 1
        reached += step.resumed_from()
        assert "damaged" not in step.output
        # One more than are kept where the kill came between an upload and what it prunes.
        assert len(step.complete()) <= step.job.settings.keep_checkpoints + 1
    assert min(hits.values()) >= 1, hits
    step = Step(store, inputs, {**GIVEN, "checkpoint_minutes": 60}, tmp_path / "killed.log")
    step.wait()
    reached += step.resumed_from()
    assert len(set(reached)) > 4, reached
    assert_identical(step.weights(), expected)
    assert storage.list_keys(step.job.checkpoints) == []
    ours, theirs = step.curve(), calm.curve()
    assert [point["step"] for point in ours] == [point["step"] for point in theirs]
    for name in ("loss", "learning_rate", "eval_loss"):
        pairs = [(a[name], b[name]) for a, b in zip(ours, theirs, strict=True) if name in a]
        assert pairs
        assert np.allclose(*zip(*pairs, strict=True), rtol=1e-5), name


def test_a_torn_upload_and_a_damaged_checkpoint_are_passed_over(
    store: str, inputs: tuple[str, str], calm: Step, tmp_path: Path
) -> None:
    with Link(os.environ["AWS_ENDPOINT_URL_S3"]) as link:
        log = tmp_path / "step.log"
        step = Step(store, inputs, GIVEN, log, AWS_ENDPOINT_URL_S3=link.endpoint)
        step.wait_for_checkpoint(20)
        link.bytes_per_second = 20_000
        prefix = step.job.checkpoints
        while True:  # until an upload is under way that will not end
            names = storage.list_folders(prefix)
            torn = [n for n in names if folders.manifest_of(f"{prefix}/{n}") is None]
            if torn and names[-1] == torn[-1] and storage.list_keys(f"{prefix}/{names[-1]}"):
                break
            time.sleep(0.01)
        step.kill("group")
    complete = step.complete()
    assert len(complete) == step.job.settings.keep_checkpoints, names
    [state] = [
        key
        for key in storage.list_keys(f"{prefix}/{complete[-1]}")
        if key.endswith("model_states.pt")
    ]
    damaged = f"{prefix}/{complete[-1]}/{state}"
    content = storage.read_bytes(damaged) or b""
    storage.write_bytes(
        damaged, content[:-1] + bytes([content[-1] ^ 1]), "application/octet-stream"
    )

    step = Step(store, inputs, {**GIVEN, "checkpoint_minutes": 60}, log)
    step.wait()
    assert step.resumed_from() == [int(complete[-2].split("-")[0])]
    assert "a damaged checkpoint is passed over" in step.output
    assert_identical(step.weights(), calm.weights())


def test_training_goes_on_while_s3_is_away_and_the_checkpoint_is_there_once_s3_is(
    store: str, inputs: tuple[str, str], tmp_path: Path
) -> None:
    given = {**GIVEN, "epochs": 10_000, "evaluations": 10_000}  # longer than any absence
    with Link(os.environ["AWS_ENDPOINT_URL_S3"]) as link:
        log = tmp_path / "step.log"
        step = Step(store, inputs, given, log, AWS_ENDPOINT_URL_S3=link.endpoint)
        step.wait_for_checkpoint(5)
        link.cut()
        step.wait_for("is not on S3 yet, training goes on")
        before = step.uploaded()
        [late] = re.findall(r"checkpoint (\d+) is not on S3 yet", step.output)
        at = max(int(n) for n in re.findall(r"validation at step (\d+)", step.output))
        step.wait_for(f"validation at step {at + 3 * 8}")
        assert step.uploaded() == before
        link.mend()
        step.wait_for(f"checkpoint {late} is on S3")
        step.wait_for_checkpoint(int(late) + 1)
        step.kill("group")
